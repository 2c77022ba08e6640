//! The actions of Amazon SWF, and the condition keys of each.
//!
//! Keys are those of the developer guide. The service authorization reference differs for `RespondActivityTaskCompleted`,
//! to which it gives the keys of decisions; its request holds none of them. For `ContinueAsNewWorkflowExecution` the
//! guide and the API reference name the workflow type's version differently, so that it has both names.

use std::fmt;

/// Where a request says which domain it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// It is a decision: the request that it is part of says so.
    Decision,
    /// In `domain`.
    Domain,
    /// Nowhere: it is about every domain of the account.
    Everything,
    /// In `name`.
    Name,
    /// In `resourceArn`.
    ResourceArn,
    /// In `taskToken`, which only AWS can read.
    TaskToken,
}

macro_rules! actions {
    ($($name:ident: $subject:ident $keys:expr,)*) => {
        /// An action of Amazon SWF that a policy can allow or deny: 39 operations, then 12 permissions for decisions,
        /// each in alphabetical order.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Action {
            $(
                #[doc = concat!("`swf:", stringify!($name), "`.")]
                $name,
            )*
        }

        impl Action {
            /// All of them, in order.
            pub const ALL: [Self; 51] = [$(Self::$name),*];

            /// Its name, without `swf:`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }

            /// The `swf:` condition keys that a request for it may have.
            #[must_use]
            pub fn condition_keys(self) -> &'static [&'static str] {
                match self {
                    $(Self::$name => $keys,)*
                }
            }

            /// Where its request says which domain it is about.
            pub(super) fn subject(self) -> Subject {
                match self {
                    $(Self::$name => Subject::$subject,)*
                }
            }
        }
    };
}

actions! {
    CountClosedWorkflowExecutions: Domain FILTER,
    CountOpenWorkflowExecutions: Domain FILTER,
    CountPendingActivityTasks: Domain TASK_LIST,
    CountPendingDecisionTasks: Domain TASK_LIST,
    DeleteActivityType: Domain ACTIVITY_TYPE,
    DeleteWorkflowType: Domain WORKFLOW_TYPE,
    DeprecateActivityType: Domain ACTIVITY_TYPE,
    DeprecateDomain: Name NONE,
    DeprecateWorkflowType: Domain WORKFLOW_TYPE,
    DescribeActivityType: Domain ACTIVITY_TYPE,
    DescribeDomain: Name NONE,
    DescribeWorkflowExecution: Domain NONE,
    DescribeWorkflowType: Domain WORKFLOW_TYPE,
    GetWorkflowExecutionHistory: Domain NONE,
    ListActivityTypes: Domain NONE,
    ListClosedWorkflowExecutions: Domain FILTER,
    ListDomains: Everything NONE,
    ListOpenWorkflowExecutions: Domain FILTER,
    ListTagsForResource: ResourceArn NONE,
    ListWorkflowTypes: Domain NONE,
    PollForActivityTask: Domain TASK_LIST,
    PollForDecisionTask: Domain TASK_LIST,
    RecordActivityTaskHeartbeat: TaskToken NONE,
    RegisterActivityType: Domain NEW_TYPE,
    RegisterDomain: Name NONE,
    RegisterWorkflowType: Domain NEW_TYPE,
    RequestCancelWorkflowExecution: Domain NONE,
    RespondActivityTaskCanceled: TaskToken NONE,
    RespondActivityTaskCompleted: TaskToken NONE,
    RespondActivityTaskFailed: TaskToken NONE,
    RespondDecisionTaskCompleted: TaskToken NONE,
    SignalWorkflowExecution: Domain NONE,
    StartWorkflowExecution: Domain START,
    TagResource: ResourceArn NONE,
    TerminateWorkflowExecution: Domain NONE,
    UndeprecateActivityType: Domain ACTIVITY_TYPE,
    UndeprecateDomain: Name NONE,
    UndeprecateWorkflowType: Domain WORKFLOW_TYPE,
    UntagResource: ResourceArn NONE,

    CancelTimer: Decision NONE,
    CancelWorkflowExecution: Decision NONE,
    CompleteWorkflowExecution: Decision NONE,
    ContinueAsNewWorkflowExecution: Decision CONTINUE,
    FailWorkflowExecution: Decision NONE,
    RecordMarker: Decision NONE,
    RequestCancelActivityTask: Decision NONE,
    RequestCancelExternalWorkflowExecution: Decision NONE,
    ScheduleActivityTask: Decision SCHEDULE,
    SignalExternalWorkflowExecution: Decision NONE,
    StartChildWorkflowExecution: Decision START,
    StartTimer: Decision NONE,
}

impl Action {
    /// The action of this name, without `swf:` and whatever its case, as policies name it.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|action| action.name().eq_ignore_ascii_case(name))
    }

    /// The action of a name with or without `swf:`.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        match text.split_once(':') {
            Some((service, name)) if service.eq_ignore_ascii_case("swf") => Self::from_name(name),
            Some(_) => None,
            None => Self::from_name(text),
        }
    }

    /// The operation that this `X-Amz-Target` header calls. Its case counts, as it does for AWS.
    #[must_use]
    pub fn from_target(target: &str) -> Option<Self> {
        let name = target.strip_prefix("SimpleWorkflowService.")?;
        Self::ALL
            .into_iter()
            .find(|action| !action.is_decision() && action.name() == name)
    }

    /// The permission that a decision of this `decisionType` needs.
    pub(super) fn from_decision_type(kind: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|action| action.is_decision() && action.name() == kind)
    }

    /// Whether it is a permission for decisions inside `RespondDecisionTaskCompleted`, and no operation of its own.
    #[must_use]
    pub fn is_decision(self) -> bool {
        self.subject() == Subject::Decision
    }

    /// Its place in [`Self::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// As policies write it: `swf:StartTimer`.
impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "swf:{}", self.name())
    }
}

/// Every `swf:` condition key there is, once, in alphabetical order.
pub fn condition_key_names() -> impl Iterator<Item = &'static str> {
    ALL_KEYS.iter().copied()
}

/// Whether some action has this condition key, `swf:` included, whatever its case.
#[must_use]
pub fn is_condition_key(key: &str) -> bool {
    condition_key_names().any(|name| name.eq_ignore_ascii_case(key))
}

/// The keys of a workflow's tags, by the place of the tag in `tagList`.
pub(super) const TAGS: [&str; 5] = [
    "swf:tagList.member.0",
    "swf:tagList.member.1",
    "swf:tagList.member.2",
    "swf:tagList.member.3",
    "swf:tagList.member.4",
];

const ALL_KEYS: &[&str] = &[
    "swf:activityType.name",
    "swf:activityType.version",
    "swf:defaultTaskList.name",
    "swf:name",
    "swf:tagFilter.tag",
    "swf:tagList.member.0",
    "swf:tagList.member.1",
    "swf:tagList.member.2",
    "swf:tagList.member.3",
    "swf:tagList.member.4",
    "swf:taskList.name",
    "swf:typeFilter.name",
    "swf:typeFilter.version",
    "swf:version",
    "swf:workflowType.name",
    "swf:workflowType.version",
    "swf:workflowTypeVersion",
];

const NONE: &[&str] = &[];
const ACTIVITY_TYPE: &[&str] = &["swf:activityType.name", "swf:activityType.version"];
const CONTINUE: &[&str] = &[
    "swf:tagList.member.0",
    "swf:tagList.member.1",
    "swf:tagList.member.2",
    "swf:tagList.member.3",
    "swf:tagList.member.4",
    "swf:taskList.name",
    "swf:workflowType.version",
    "swf:workflowTypeVersion",
];
const FILTER: &[&str] = &[
    "swf:tagFilter.tag",
    "swf:typeFilter.name",
    "swf:typeFilter.version",
];
const NEW_TYPE: &[&str] = &["swf:defaultTaskList.name", "swf:name", "swf:version"];
const SCHEDULE: &[&str] = &[
    "swf:activityType.name",
    "swf:activityType.version",
    "swf:taskList.name",
];
const START: &[&str] = &[
    "swf:tagList.member.0",
    "swf:tagList.member.1",
    "swf:tagList.member.2",
    "swf:tagList.member.3",
    "swf:tagList.member.4",
    "swf:taskList.name",
    "swf:workflowType.name",
    "swf:workflowType.version",
];
const TASK_LIST: &[&str] = &["swf:taskList.name"];
const WORKFLOW_TYPE: &[&str] = &["swf:workflowType.name", "swf:workflowType.version"];
