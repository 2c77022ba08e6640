mod answers;
mod trust;
mod validation;

use std::io;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::iam::Context;
use crate::iam::principal::Caller;
use crate::judge::{Judge, Network, Shown};
use crate::policy::{SourceFile, parse};
use crate::session::{Reach, Session, Tag};

const ALICE: &str = "arn:aws:iam::111122223333:user/alice";
const BOB: &str = "arn:aws:iam::444455556666:user/bob";
const CALLING: &str = "arn:aws:iam::111122223333:role/calling";
const WORKER: &str = "arn:aws:iam::111122223333:role/team/worker";
const CALLING_SESSION: &str = "arn:aws:sts::111122223333:assumed-role/calling/one";

/// What is attached to the callers and to the role that they want.
#[derive(Clone, Debug, Default)]
struct Setting {
    /// Of each caller: statements.
    identity: Option<Value>,
    boundary: Option<Value>,
    /// Of the calling session.
    session: Option<Value>,
    /// Of the role.
    trust: Value,
}

fn document(statements: &Value) -> String {
    json!({"Version": "2012-10-17", "Statement": statements}).to_string()
}

/// Everybody has the same documents; the role `worker` has a trust policy, and `calling` has none.
fn judge(setting: &Setting) -> Judge {
    let boundary = setting.boundary.as_ref();
    let boundary_field = boundary.map_or("", |_| "boundary = \"boundary.json\"");
    let policies = match setting.identity {
        Some(_) => "policies = [\"own.json\"]",
        None => "",
    };
    let user = |name: &str, account: &str| {
        format!(
            "[[user]]\nname = \"{name}\"\naccount = \"{account}\"\n{policies}\n{boundary_field}\ntags = {{ desk = \"3\" }}\n"
        )
    };
    let text = format!(
        "version = 1\n[[account]]\nid = \"111122223333\"\n[[account]]\nid = \"444455556666\"\n{}{}\
         [[role]]\nname = \"calling\"\naccount = \"111122223333\"\n{policies}\n{boundary_field}\n\
         [[role]]\nname = \"worker\"\nmax_session_duration = 7200\npath = \"/team/\"\nid = \"AROAWORKER\"\naccount = \"111122223333\"\n\
         trust = \"trust.json\"\ntags = {{ team = \"orders\" }}\n",
        user("alice", "111122223333"),
        user("bob", "444455556666"),
    );
    let file = SourceFile {
        name: "principals.d/a.toml".into(),
        bytes: text.as_bytes().into(),
    };
    let mut read = |path: &Path| -> io::Result<Arc<[u8]>> {
        let name = path.file_name().and_then(|name| name.to_str());
        let statements = match name {
            Some("own.json") => setting.identity.as_ref(),
            Some("boundary.json") => boundary,
            _ => Some(&setting.trust),
        };
        let text = statements.map(document).ok_or(io::ErrorKind::NotFound)?;
        Ok(text.as_bytes().into())
    };
    Judge::new(&parse(&[file], &mut read).expect("a right policy"))
}

fn now() -> Timestamp {
    Timestamp::from_second(1_700_000_000).expect("a time")
}

const LOTS: Lots = Lots {
    id: [0; 10],
    secret: [0; 30],
};

fn session_of(arn: &str, judge: &Judge) -> Session {
    Session {
        access_key_id: "ASIACALLING".into(),
        secret: crate::credentials::secret([1; 30]),
        unique_id: judge
            .identity(&judge.caller(arn).expect("a caller"))
            .map_or_else(Box::default, |identity| Box::from(&*identity.id)),
        caller: judge.caller(arn).expect("a caller"),
        parent: None,
        issued: now(),
        expires: now() + jiff::SignedDuration::from_hours(1),
        policy: None,
        source_identity: None,
        tags: Vec::new(),
    }
}

fn tag(key: &str, value: &str, reach: Reach) -> Tag {
    Tag {
        key: key.into(),
        value: value.into(),
        reach,
    }
}

fn wish() -> AssumeRole {
    AssumeRole {
        role: WORKER.into(),
        session_name: "one".into(),
        seconds: 3_600,
        policy: None,
        tags: Vec::new(),
        external_id: None,
        source_identity: None,
    }
}

/// What comes of `wish` for a caller: a user, or a session with what `alter` makes of it.
fn assume(
    setting: &Setting,
    caller: &str,
    wish: AssumeRole,
    alter: impl FnOnce(&mut Session),
) -> Result<Outcome, Fault> {
    let judge = judge(setting);
    let call = Call::AssumeRole(Box::new(wish));
    let caller = Caller::from_arn(caller).expect("a caller");
    let mut session = session_of(caller.arn(), &judge);
    session.policy = setting.session.as_ref().map(|own| document(own).into());
    alter(&mut session);
    let is_user = caller.role().is_none();
    let shown = Shown {
        session: (!is_user).then_some(&session),
        ..Shown::default()
    };
    let network = Network::Public([192, 0, 2, 7].into());
    let mut context = judge.context(0, &caller, network, shown);
    context.set("aws:RequestedRegion", "us-east-1");
    let asker = if is_user {
        Asker::User {
            access_key_id: "AKIAALICE",
            caller: &caller,
        }
    } else {
        Asker::Session(&session)
    };
    decide(&judge, &call, asker, &context, now(), LOTS)
}

fn trust(principal: &Value) -> Value {
    json!([{"Effect": "Allow", "Action": "sts:*", "Principal": principal}])
}
