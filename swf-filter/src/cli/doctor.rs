//! `swf-filter doctor`.

use std::fmt::Write as _;

use anyhow::Result;

use super::show::{Show, line};
use super::{Answered, Arguments, runtime};
use crate::doctor::{self, Grade, Report};
use crate::report::{counted, visible};

impl Arguments {
    pub(super) fn doctor(&self) -> Result<()> {
        let examined = doctor::examine(&self.config, &self.listener_config);
        let report = runtime()?.block_on(examined);
        self.print(&report)?;
        match report.failures {
            0 => Ok(()),
            failures => Err(Answered::Ailing(failures).into()),
        }
    }
}

impl Show for Report {
    fn show(&self) -> String {
        let mut text = String::new();
        for finding in &self.findings {
            let grade = match finding.grade {
                Grade::Advice => "advice",
                Grade::Failure => "FAILURE",
                Grade::Ok => "ok",
                Grade::Warning => "warning",
            };
            let words = visible(&finding.words);
            line!(text, "{grade:<8} {}: {words}", finding.check);
            if let Some(advice) = &finding.advice {
                line!(text, "{:<8} -> {}", "", visible(advice));
            }
        }
        line!(
            text,
            "\n{}: {}, {}",
            counted(self.findings.len(), "check", "checks"),
            counted(self.failures, "failure", "failures"),
            counted(self.warnings, "warning", "warnings")
        );
        text
    }
}
