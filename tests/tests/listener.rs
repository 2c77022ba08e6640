//! The listener as AWS's clients meet it: through both gates, before an SWF that workflows run on.

use anyhow::{Result, ensure};
use swf_filter_tests::stage::{AccessKey, ONE, Stage, TWO};

const POLICY: &str = r#"
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
endpoints = ["vpce-0bbb"]
"#;

/// Nobody but from the two VPCs; from the second, only to look.
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

[[user]]
name = "bob"
policies = ["bob.json"]

[[role]]
name = "worker"
trust = "trust.json"
policies = ["all.json"]
"#;

const FILES: [(&str, &str); 4] = [
    (
        "alice.json",
        r#"{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": ["swf:*", "sts:*"], "Resource": "*"}}"#,
    ),
    (
        "all.json",
        r#"{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "swf:*", "Resource": "*"}}"#,
    ),
    (
        "bob.json",
        r#"{"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": "swf:ListDomains", "Resource": "*"},
            {"Effect": "Allow", "Action": ["swf:Describe*", "swf:Respond*"],
             "Resource": "arn:aws:swf:us-east-1:111122223333:/domain/payments"},
            {"Effect": "Allow", "Action": "swf:StartWorkflowExecution", "Resource": "*",
             "Condition": {"StringEquals": {"swf:tagList.member.0": "retail"}}}]}"#,
    ),
    (
        "trust.json",
        r#"{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": ["sts:AssumeRole", "sts:TagSession"],
            "Principal": {"AWS": "arn:aws:iam::111122223333:user/alice"}}}"#,
    ),
];

/// A stage with a user who may do anything, and one who may do little.
fn stage(name: &str) -> Result<Option<(Stage, AccessKey, AccessKey)>> {
    let policy = [("10.toml", POLICY), ("swf.json", DOCUMENT)];
    let Some(stage) = Stage::new(name, &policy, PRINCIPALS, &FILES)? else {
        return Ok(None);
    };
    let alice = stage.create_key("alice")?;
    let bob = stage.create_key("bob")?;
    stage.wait_for_key(&bob)?;
    Ok(Some((stage, alice, bob)))
}

#[test]
fn a_workflow_runs_to_completion_through_both_gates() -> Result<()> {
    let Some((stage, alice, bob)) = stage("workflow")? else {
        return Ok(());
    };
    for scenario in ["workflow", "operations", "session", "cli", "wrong"] {
        println!("{scenario}\n{}", stage.scenario(scenario, ONE, &alice)?);
    }
    println!("{}", stage.scenario("denied", ONE, &bob)?);
    // The same user through another VPC may look, and no more.
    println!("{}", stage.scenario("looks", TWO, &alice)?);

    let audit = stage.audit()?;
    let denied: Vec<_> = audit
        .iter()
        .filter(|record| record["verdict"] == "denied" && record["action"] == "swf:DeprecateDomain")
        .collect();
    let vpcs: Vec<_> = denied.iter().map(|record| &record["vpc"]).collect();
    ensure!(
        vpcs == ["vpc-one", "vpc-two"] && denied.iter().all(|record| record["status"] == 400),
        "each denied call is in the audit log, with its VPC and status: {denied:?}"
    );
    let text = serde_json::to_string(&audit)?;
    ensure!(
        !text.contains(&alice.secret) && !text.contains(&bob.secret),
        "no secret is in the audit log"
    );
    Ok(())
}
