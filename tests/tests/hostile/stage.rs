//! The listener before an upstream of the tests' own, and who may call it.

use anyhow::Result;
use swf_filter_tests::{
    backend::Backend,
    client::{Answer, Client, Signed, Trust},
    netns::Namespace,
    stage::{AccessKey, Behind, ONE, Stage, TWO, UPSTREAM},
};

pub(crate) const POLICY: &str = r#"
version = 1

[[host]]
name = "swf"
addresses = ["10.20.0.1", "10.30.0.1"]
ports = [8443, 9443]
account = "111122223333"
resource_policies = ["swf.json"]
trusted_proxies = ["10.20.0.2"]

[[vpc]]
id = "vpc-one"
cidrs = ["10.20.0.0/16"]
interfaces = ["eth1"]
endpoints = ["vpce-0aaa"]

[[vpc]]
id = "vpc-two"
cidrs = ["10.30.0.0/16"]
interfaces = ["eth2"]
endpoints = ["vpce-0bbb", "vpce-0eee"]
"#;

/// Nobody but from the two VPCs; through the endpoint of the second, only to look.
const DOCUMENT: &str = r#"{
    "Version": "2012-10-17",
    "Statement": [
        {
            "Sid": "OnlyOurVpcs",
            "Effect": "Deny",
            "Principal": "*",
            "Action": "swf:*",
            "Resource": "*",
            "Condition": {"StringNotEquals": {"aws:SourceVpc": ["vpc-one", "vpc-two"]}}
        },
        {
            "Sid": "TwoOnlyLooks",
            "Effect": "Deny",
            "Principal": "*",
            "NotAction": ["swf:List*", "swf:Describe*"],
            "Resource": "*",
            "Condition": {"StringEquals": {"aws:SourceVpce": "vpce-0bbb"}}
        }
    ]
}"#;

const PRINCIPALS: &str = r#"
version = 1

[[account]]
id = "111122223333"

[[user]]
name = "alice"
policies = ["alice.json"]
"#;

const ALICE: &str = r#"{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": ["swf:*", "sts:*"], "Resource": "*"}}"#;

/// A listener, what is behind it, and Alice, who may do everything.
pub(crate) struct Scene {
    pub(crate) stage: Stage,
    pub(crate) backend: Backend,
    pub(crate) alice: AccessKey,
    pub(crate) trust: Trust,
}

impl Scene {
    /// `None`, said loudly, where the machine or the build cannot do it. `settings` are added to listener.toml.
    pub(crate) fn new(name: &str, settings: &str) -> Result<Option<Self>> {
        let policy = [("10.toml", POLICY), ("swf.json", DOCUMENT)];
        let files = (&policy[..], PRINCIPALS, &[("alice.json", ALICE)][..]);
        let Some(stage) = Stage::before(name, files, Behind::Own, settings)? else {
            return Ok(None);
        };
        let backend = Backend::start(&stage.world.host, UPSTREAM)?;
        let alice = stage.create_key("alice")?;
        stage.wait_for_key(&alice)?;
        let trust = Trust::read(&stage.world.file("ca.pem"))?;
        Ok(Some(Self {
            stage,
            backend,
            alice,
            trust,
        }))
    }

    /// A connection of client one.
    pub(crate) fn one(&self) -> Result<Client> {
        self.trust.connect(&self.stage.world.one, ONE)
    }

    /// A connection of client two.
    pub(crate) fn two(&self) -> Result<Client> {
        self.trust.connect(&self.stage.world.two, TWO)
    }

    /// A call by Alice.
    pub(crate) fn call(&self, operation: &str, body: &str) -> Result<Signed> {
        Signed::swf(&self.alice, operation, body)
    }

    /// A call by Alice that only looks, and is answered as `name` says.
    pub(crate) fn describe(&self, name: &str) -> Result<Vec<u8>> {
        let body = format!(r#"{{"name": "{name}"}}"#);
        Ok(self.call("DescribeDomain", &body)?.bytes())
    }

    /// A poll by Alice, which is held.
    pub(crate) fn poll(&self) -> Result<Vec<u8>> {
        let body = r#"{"domain": "d", "taskList": {"name": "l"}}"#;
        Ok(self.call("PollForDecisionTask", body)?.bytes())
    }

    /// Whether a new connection is served.
    pub(crate) fn answers(&self, from: &Namespace, to: &str) -> Result<Answer> {
        self.trust.connect(from, to)?.ask(self.describe("x")?)
    }
}
