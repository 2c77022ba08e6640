//! What swf-filter itself makes of a case.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use serde_json::Value;
use swf_filter_core::iam::authorize::{Index, Policies, Reason, Request, authorize};
use swf_filter_core::iam::principal::Caller;
use swf_filter_core::iam::{Context, Document, Kind, parse};
use swf_filter_core::policy::{Problems, SourceFile};
use swf_filter_core::swf::Action;

use swf_filter_tests::iam::{Case, Outcome};

/// The documents of a case, as swf-filter reads them.
pub(crate) struct Documents {
    identity: Index,
    boundary: Option<Index>,
    session: Option<Index>,
    resource: Index,
}

impl Documents {
    /// Reads those of a case: each is read, printed, and read again.
    pub(crate) fn read(case: &Case) -> Result<Self> {
        let some = |documents: Option<&[Value]>| {
            documents
                .map(|documents| index(documents, Kind::Identity))
                .transpose()
        };
        Ok(Self {
            identity: index(&case.identity, Kind::Identity)?,
            boundary: some(case.boundary.as_ref().map(std::slice::from_ref))?,
            session: some(case.session.as_deref())?,
            resource: index(&case.resource, Kind::Resource)?,
        })
    }

    /// What swf-filter makes of the case's request.
    pub(crate) fn decide(&self, case: &Case) -> Result<Outcome> {
        let mut context = Context::default();
        for (key, values) in &case.context {
            for value in values {
                context.add(key.as_str(), value.as_str());
            }
        }
        let policies = Policies {
            identity: Some(&self.identity),
            boundary: self.boundary.as_ref(),
            session: self.session.as_ref(),
            resource: Some(&self.resource),
            account: Some(&case.account),
        };
        let name = case.action.trim_start_matches("swf:");
        let request = Request {
            caller: &Caller::from_arn(&case.caller)?,
            action: Action::from_name(name).context("an action of SWF")?.into(),
            resource: &case.arn,
            context: &context,
        };
        Ok(match authorize(&policies, request).reason {
            Reason::Allowed => Outcome::Allowed,
            Reason::ExplicitDeny => Outcome::Denied,
            _ => Outcome::NotAllowed,
        })
    }
}

/// Reads documents, prints them, reads them again, and indexes what comes out.
fn index(documents: &[Value], kind: Kind) -> Result<Index> {
    let read = documents
        .iter()
        .map(|document| Ok(Arc::new(read(&read(document, kind)?.to_json(), kind)?)));
    Ok(Index::new(read.collect::<Result<_>>()?))
}

fn read(document: &Value, kind: Kind) -> Result<Document> {
    let file = SourceFile {
        name: "generated.json".into(),
        bytes: document.to_string().into_bytes().into(),
    };
    let mut problems = Problems::default();
    let read = parse(&file, kind, &mut problems);
    read.ok_or_else(|| anyhow::anyhow!("{problems} in {document:#}"))
}
