//! SWF's actions: the operations of its API, and the permissions that govern decisions.

use std::fmt;

/// An action that a policy can name.
///
/// Amazon SWF API Reference, "Actions"; Amazon SWF Developer Guide, "Using IAM policies to manage access to Amazon SWF
/// resources", which has the permissions that are no operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[expect(missing_docs, reason = "the names are SWF's own")]
pub enum Action {
    CountClosedWorkflowExecutions,
    CountOpenWorkflowExecutions,
    CountPendingActivityTasks,
    CountPendingDecisionTasks,
    DeleteActivityType,
    DeleteWorkflowType,
    DeprecateActivityType,
    DeprecateDomain,
    DeprecateWorkflowType,
    DescribeActivityType,
    DescribeDomain,
    DescribeWorkflowExecution,
    DescribeWorkflowType,
    GetWorkflowExecutionHistory,
    ListActivityTypes,
    ListClosedWorkflowExecutions,
    ListDomains,
    ListOpenWorkflowExecutions,
    ListTagsForResource,
    ListWorkflowTypes,
    PollForActivityTask,
    PollForDecisionTask,
    RecordActivityTaskHeartbeat,
    RegisterActivityType,
    RegisterDomain,
    RegisterWorkflowType,
    RequestCancelWorkflowExecution,
    RespondActivityTaskCanceled,
    RespondActivityTaskCompleted,
    RespondActivityTaskFailed,
    RespondDecisionTaskCompleted,
    SignalWorkflowExecution,
    StartWorkflowExecution,
    TagResource,
    TerminateWorkflowExecution,
    UndeprecateActivityType,
    UndeprecateDomain,
    UndeprecateWorkflowType,
    UntagResource,
    CancelTimer,
    CancelWorkflowExecution,
    CompleteWorkflowExecution,
    ContinueAsNewWorkflowExecution,
    FailWorkflowExecution,
    RecordMarker,
    RequestCancelActivityTask,
    RequestCancelExternalWorkflowExecution,
    ScheduleActivityTask,
    SignalExternalWorkflowExecution,
    StartChildWorkflowExecution,
    StartTimer,
}

impl Action {
    /// All actions, operations first.
    pub const ALL: [Self; 51] = [
        Self::CountClosedWorkflowExecutions,
        Self::CountOpenWorkflowExecutions,
        Self::CountPendingActivityTasks,
        Self::CountPendingDecisionTasks,
        Self::DeleteActivityType,
        Self::DeleteWorkflowType,
        Self::DeprecateActivityType,
        Self::DeprecateDomain,
        Self::DeprecateWorkflowType,
        Self::DescribeActivityType,
        Self::DescribeDomain,
        Self::DescribeWorkflowExecution,
        Self::DescribeWorkflowType,
        Self::GetWorkflowExecutionHistory,
        Self::ListActivityTypes,
        Self::ListClosedWorkflowExecutions,
        Self::ListDomains,
        Self::ListOpenWorkflowExecutions,
        Self::ListTagsForResource,
        Self::ListWorkflowTypes,
        Self::PollForActivityTask,
        Self::PollForDecisionTask,
        Self::RecordActivityTaskHeartbeat,
        Self::RegisterActivityType,
        Self::RegisterDomain,
        Self::RegisterWorkflowType,
        Self::RequestCancelWorkflowExecution,
        Self::RespondActivityTaskCanceled,
        Self::RespondActivityTaskCompleted,
        Self::RespondActivityTaskFailed,
        Self::RespondDecisionTaskCompleted,
        Self::SignalWorkflowExecution,
        Self::StartWorkflowExecution,
        Self::TagResource,
        Self::TerminateWorkflowExecution,
        Self::UndeprecateActivityType,
        Self::UndeprecateDomain,
        Self::UndeprecateWorkflowType,
        Self::UntagResource,
        Self::CancelTimer,
        Self::CancelWorkflowExecution,
        Self::CompleteWorkflowExecution,
        Self::ContinueAsNewWorkflowExecution,
        Self::FailWorkflowExecution,
        Self::RecordMarker,
        Self::RequestCancelActivityTask,
        Self::RequestCancelExternalWorkflowExecution,
        Self::ScheduleActivityTask,
        Self::SignalExternalWorkflowExecution,
        Self::StartChildWorkflowExecution,
        Self::StartTimer,
    ];

    /// How many of [`Action::ALL`] are operations.
    const OPERATIONS: usize = 39;

    /// As it is written after `swf:`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::CountClosedWorkflowExecutions => "CountClosedWorkflowExecutions",
            Self::CountOpenWorkflowExecutions => "CountOpenWorkflowExecutions",
            Self::CountPendingActivityTasks => "CountPendingActivityTasks",
            Self::CountPendingDecisionTasks => "CountPendingDecisionTasks",
            Self::DeleteActivityType => "DeleteActivityType",
            Self::DeleteWorkflowType => "DeleteWorkflowType",
            Self::DeprecateActivityType => "DeprecateActivityType",
            Self::DeprecateDomain => "DeprecateDomain",
            Self::DeprecateWorkflowType => "DeprecateWorkflowType",
            Self::DescribeActivityType => "DescribeActivityType",
            Self::DescribeDomain => "DescribeDomain",
            Self::DescribeWorkflowExecution => "DescribeWorkflowExecution",
            Self::DescribeWorkflowType => "DescribeWorkflowType",
            Self::GetWorkflowExecutionHistory => "GetWorkflowExecutionHistory",
            Self::ListActivityTypes => "ListActivityTypes",
            Self::ListClosedWorkflowExecutions => "ListClosedWorkflowExecutions",
            Self::ListDomains => "ListDomains",
            Self::ListOpenWorkflowExecutions => "ListOpenWorkflowExecutions",
            Self::ListTagsForResource => "ListTagsForResource",
            Self::ListWorkflowTypes => "ListWorkflowTypes",
            Self::PollForActivityTask => "PollForActivityTask",
            Self::PollForDecisionTask => "PollForDecisionTask",
            Self::RecordActivityTaskHeartbeat => "RecordActivityTaskHeartbeat",
            Self::RegisterActivityType => "RegisterActivityType",
            Self::RegisterDomain => "RegisterDomain",
            Self::RegisterWorkflowType => "RegisterWorkflowType",
            Self::RequestCancelWorkflowExecution => "RequestCancelWorkflowExecution",
            Self::RespondActivityTaskCanceled => "RespondActivityTaskCanceled",
            Self::RespondActivityTaskCompleted => "RespondActivityTaskCompleted",
            Self::RespondActivityTaskFailed => "RespondActivityTaskFailed",
            Self::RespondDecisionTaskCompleted => "RespondDecisionTaskCompleted",
            Self::SignalWorkflowExecution => "SignalWorkflowExecution",
            Self::StartWorkflowExecution => "StartWorkflowExecution",
            Self::TagResource => "TagResource",
            Self::TerminateWorkflowExecution => "TerminateWorkflowExecution",
            Self::UndeprecateActivityType => "UndeprecateActivityType",
            Self::UndeprecateDomain => "UndeprecateDomain",
            Self::UndeprecateWorkflowType => "UndeprecateWorkflowType",
            Self::UntagResource => "UntagResource",
            Self::CancelTimer => "CancelTimer",
            Self::CancelWorkflowExecution => "CancelWorkflowExecution",
            Self::CompleteWorkflowExecution => "CompleteWorkflowExecution",
            Self::ContinueAsNewWorkflowExecution => "ContinueAsNewWorkflowExecution",
            Self::FailWorkflowExecution => "FailWorkflowExecution",
            Self::RecordMarker => "RecordMarker",
            Self::RequestCancelActivityTask => "RequestCancelActivityTask",
            Self::RequestCancelExternalWorkflowExecution => {
                "RequestCancelExternalWorkflowExecution"
            }
            Self::ScheduleActivityTask => "ScheduleActivityTask",
            Self::SignalExternalWorkflowExecution => "SignalExternalWorkflowExecution",
            Self::StartChildWorkflowExecution => "StartChildWorkflowExecution",
            Self::StartTimer => "StartTimer",
        }
    }

    /// Looks an action up, ignoring case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|action| action.name().eq_ignore_ascii_case(name))
    }

    /// The operation that the header `X-Amz-Target` names.
    #[must_use]
    pub fn from_target(target: &str) -> Option<Self> {
        let name = target.strip_prefix("SimpleWorkflowService.")?;
        let mut operations = Self::ALL.into_iter().filter(|action| !action.is_decision());
        operations.find(|action| action.name() == name)
    }

    /// Whether it governs a decision inside `RespondDecisionTaskCompleted`, and is no operation.
    #[must_use]
    pub fn is_decision(self) -> bool {
        self.index() >= Self::OPERATIONS
    }

    /// Its place in [`Action::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The keys of SWF's own that a request for it may have.
    #[must_use]
    pub fn condition_keys(self) -> &'static [&'static str] {
        match self {
            Self::ContinueAsNewWorkflowExecution => &[
                "swf:tagList.member.0",
                "swf:tagList.member.1",
                "swf:tagList.member.2",
                "swf:tagList.member.3",
                "swf:tagList.member.4",
                "swf:taskList.name",
                "swf:workflowType.version",
                "swf:workflowTypeVersion",
            ],
            Self::CountClosedWorkflowExecutions
            | Self::CountOpenWorkflowExecutions
            | Self::ListClosedWorkflowExecutions
            | Self::ListOpenWorkflowExecutions => &[
                "swf:tagFilter.tag",
                "swf:typeFilter.name",
                "swf:typeFilter.version",
            ],
            Self::CountPendingActivityTasks
            | Self::CountPendingDecisionTasks
            | Self::PollForActivityTask
            | Self::PollForDecisionTask => &["swf:taskList.name"],
            Self::DeleteActivityType
            | Self::DeprecateActivityType
            | Self::DescribeActivityType
            | Self::UndeprecateActivityType => {
                &["swf:activityType.name", "swf:activityType.version"]
            }
            Self::DeleteWorkflowType
            | Self::DeprecateWorkflowType
            | Self::DescribeWorkflowType
            | Self::UndeprecateWorkflowType => {
                &["swf:workflowType.name", "swf:workflowType.version"]
            }
            Self::RegisterActivityType | Self::RegisterWorkflowType => {
                &["swf:defaultTaskList.name", "swf:name", "swf:version"]
            }
            Self::ScheduleActivityTask => &[
                "swf:activityType.name",
                "swf:activityType.version",
                "swf:taskList.name",
            ],
            Self::StartWorkflowExecution | Self::StartChildWorkflowExecution => &[
                "swf:tagList.member.0",
                "swf:tagList.member.1",
                "swf:tagList.member.2",
                "swf:tagList.member.3",
                "swf:tagList.member.4",
                "swf:taskList.name",
                "swf:workflowType.name",
                "swf:workflowType.version",
            ],
            _ => &[],
        }
    }
}

/// `swf:StartWorkflowExecution`
impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "swf:{}", self.name())
    }
}

/// Whether SWF has the condition key `name`, which is given in lower case.
#[must_use]
pub fn is_condition_key(name: &str) -> bool {
    condition_key_names().any(|key| key.eq_ignore_ascii_case(name))
}

/// The condition keys of SWF's own, each once.
pub fn condition_key_names() -> impl Iterator<Item = &'static str> {
    let mut names: Vec<&str> = Action::ALL
        .iter()
        .flat_map(|action| action.condition_keys())
        .copied()
        .collect();
    names.sort_unstable();
    names.dedup();
    names.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_is_found_by_its_name() {
        for (index, action) in Action::ALL.into_iter().enumerate() {
            assert_eq!(action.index(), index);
            assert_eq!(
                Action::from_name(&action.name().to_uppercase()),
                Some(action)
            );
            let target = format!("SimpleWorkflowService.{}", action.name());
            let found = Action::from_target(&target);
            assert_eq!(found, (!action.is_decision()).then_some(action));
        }
        let decisions = Action::ALL.iter().filter(|action| action.is_decision());
        assert_eq!(decisions.count(), 12);
        assert_eq!(Action::from_name("StratWorkflowExecution"), None);
        assert_eq!(
            Action::from_target("simpleworkflowservice.ListDomains"),
            None
        );
    }

    #[test]
    fn condition_keys_are_found_without_case() {
        assert!(is_condition_key("swf:taglist.member.4"));
        assert!(!is_condition_key("swf:taglist.member.5"));
        assert_eq!(
            condition_key_names()
                .filter(|key| key.starts_with("swf:workflowType"))
                .count(),
            3
        );
    }
}
