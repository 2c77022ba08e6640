//! Earlier generations: which there were, and how to go back to one.

use anyhow::{Context, Result, ensure};

use super::change::{Cause, Standing};
use super::{Gate, lock};
use crate::control::api::{HistoryEntry, HistoryReport, Operator, ReloadReport};
use crate::state::{By, How, Order, Record, is_damage};

impl Gate {
    /// All changes of what is in force, the newest first.
    pub(in crate::daemon) fn history(&self) -> Result<HistoryReport> {
        let in_force = self.view().policy_info();
        let records = self.state.history().map_err(unreadable)?;
        let now = records.iter().rposition(|record| {
            let known = Some((record.generation, &record.policy));
            known
                == in_force
                    .as_ref()
                    .map(|info| (info.generation, &info.policy))
        });
        let entry = |(at, record): (usize, &Record)| HistoryEntry {
            kept: self.state.keeps_text(&record.policy),
            in_force: Some(at) == now,
            record: record.clone(),
        };
        let generations = records.iter().enumerate().rev().map(entry).collect();
        Ok(HistoryReport { generations })
    }

    /// Brings an earlier generation into force: that one, or the one before.
    ///
    /// A trial that is under way ends.
    pub(in crate::daemon) fn rollback(
        &self,
        wanted: Option<u64>,
        by: By,
        operator: Option<&Operator>,
    ) -> Result<ReloadReport> {
        let mut publisher = lock(&self.publisher);
        let order = self.order.borrow().clone();
        if let Some(Order::Trial(trial)) = order {
            ensure!(
                wanted.is_none_or(|wanted| wanted == trial.before),
                "generation {} is on trial; `swf-filter rollback` without a number ends that first",
                trial.generation
            );
            return self.revert(&mut publisher, &trial, by);
        }
        let records = self.state.history().map_err(unreadable)?;
        let record = if let Some(number) = wanted {
            that(&records, number)?
        } else {
            let now = self.view().policy_info().map(|info| info.policy);
            before(&records, now.as_deref())
                .context("the history has no generation before this one")?
        };
        ensure!(
            self.state.keeps_text(&record.policy),
            "the text of generation {} is not kept any more; `swf-filter history` shows which are",
            record.generation
        );
        let (loaded, config) = self.load(self.state.load_text(&record.policy)?)?;
        let from = (loaded, super::Milliseconds::default());
        let cause = Cause::new(by, How::Rollback).again(record.generation);
        self.bring(
            &mut publisher,
            from,
            config,
            (Standing::Held, cause),
            operator,
        )
    }
}

/// With what to do where there is no history.
fn unreadable(error: anyhow::Error) -> anyhow::Error {
    let otherwise = "`swf-filter apply` a directory that has what is wanted";
    let then = if is_damage(&error) {
        "the next change begins it anew, so"
    } else {
        "mend that, or"
    };
    error.context(format!("the history cannot be read; {then} {otherwise}"))
}

/// The record of a generation, with the last text that it had.
pub(super) fn that(records: &[Record], number: u64) -> Result<&Record> {
    records
        .iter()
        .rfind(|record| record.generation == number)
        .with_context(|| format!("the history has no generation {number}"))
}

/// The last one with another text, but none that was only tried.
///
/// Where sets have followed their files since, that is another text than the one which they belong to: the sets would follow again.
fn before<'a>(records: &'a [Record], policy: Option<&str>) -> Option<&'a Record> {
    let own = records
        .iter()
        .rposition(|record| record.how != How::Follow)?;
    let (until, followed) = records.split_at_checked(own + 1)?;
    let policy = match (until.last(), followed) {
        (Some(own), [_, ..]) => Some(&*own.policy),
        _ => policy,
    };
    until
        .iter()
        .rfind(|record| record.how != How::Try && Some(&*record.policy) != policy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Change;

    fn record(generation: u64, how: How, policy: &str) -> Record {
        Record {
            generation,
            time: String::new(),
            by: By::start(),
            how,
            again: None,
            hash: String::new(),
            policy: policy.to_owned(),
            change: Change::default(),
        }
    }

    #[test]
    fn the_generation_before_is_the_last_with_another_text_that_was_not_only_tried() {
        let records = [
            record(1, How::Reload, "a"),
            record(2, How::Reload, "b"),
            record(3, How::Try, "c"),
            record(4, How::Revert, "b"),
        ];
        let number = |records, policy| before(records, policy).map(|record| record.generation);
        assert_eq!(number(&records, Some("b")), Some(1));
        assert_eq!(number(&records[..1], Some("a")), None);
        let follows = [&records[..2], &[record(3, How::Follow, "b2")]].concat();
        assert_eq!(number(&follows, Some("b2")), Some(1));
        let confirmed = [&records[..3], &[record(3, How::Confirm, "c")]].concat();
        assert_eq!(number(&confirmed, Some("c")), Some(2));
        assert_eq!(number(&confirmed, Some("d")), Some(3));
    }

    #[test]
    fn a_number_stands_for_the_last_text_under_it() {
        let records = [
            record(1, How::Reload, "a"),
            record(1, How::Reload, "a2"),
            record(2, How::Reload, "b"),
        ];
        assert_eq!(that(&records, 1).unwrap().policy, "a2");
        assert!(that(&records, 3).is_err());
    }
}
