use std::collections::BTreeSet;

use proptest::collection::{hash_map, vec};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use super::token::{DOMAIN, TOKEN, cost};
use super::*;

/// A body with every member that any operation is read for.
fn everything() -> Value {
    json!({
        "activityType": {"name": "activity", "version": "a1"},
        "decisions": [
            {"decisionType": "StartTimer", "startTimerDecisionAttributes": {}},
        ],
        "defaultTaskList": {"name": "default"},
        "domain": "Orders",
        "executionFilter": {"workflowId": "unread"},
        "name": "Name",
        "resourceArn": "arn:aws:swf:eu-west-1:111122223333:/domain/Orders",
        "tagFilter": {"tag": "filtered"},
        "tagKeys": ["Team", "stage"],
        "tagList": ["t0", "t1", "t2", "t3", "t4"],
        "tags": [{"key": "Team", "value": "Blue"}, {"key": "bare"}],
        "taskList": {"name": "list"},
        "taskToken": "AAAA",
        "typeFilter": {"name": "type", "version": "f1"},
        "version": "v1",
        "workflowType": {"name": "workflow", "version": "w1"},
    })
}

fn read(action: Action, body: &Value) -> Result<Call, CallFault> {
    read_call(action, body.to_string().as_bytes())
}

fn fault(action: Action, body: &[u8]) -> CallFault {
    read_call(action, body).unwrap_err()
}

fn message(action: Action, body: &Value) -> String {
    read(action, body).unwrap_err().to_string()
}

fn shown(keys: &Keys) -> Vec<String> {
    let key = |(key, values): &(String, Vec<String>)| format!("{key}={}", values.join("+"));
    keys.iter().map(key).collect()
}

/// What is read from [`everything`], as one line.
fn line(action: Action) -> String {
    let call = read(action, &everything()).unwrap();
    let scope = match &call.scope {
        Scope::Domain(name) => format!("domain {name}"),
        Scope::EveryDomain => "every domain".to_owned(),
        Scope::ResourceArn(arn) => format!("arn {arn}"),
        Scope::TaskToken(token) => format!("token {token}"),
    };
    assert_eq!(call.action, action);
    let words = [action.name().to_owned(), scope].into_iter();
    words.chain(shown(&call.keys)).collect::<Vec<_>>().join(" ")
}

fn operations() -> impl Iterator<Item = Action> {
    Action::ALL
        .into_iter()
        .filter(|action| !action.is_decision())
}

fn permissions() -> impl Iterator<Item = Action> {
    Action::ALL
        .into_iter()
        .filter(|action| action.is_decision())
}

mod actions {
    use super::*;

    #[test]
    fn there_are_39_operations_and_12_decisions() {
        assert_eq!((operations().count(), permissions().count()), (39, 12));
        for half in [operations().collect(), permissions().collect::<Vec<_>>()] {
            assert!(half.is_sorted_by_key(|action| action.name()));
        }
        for (index, action) in Action::ALL.into_iter().enumerate() {
            assert_eq!(action.index(), index);
        }
    }

    #[test]
    fn names_lead_back_whatever_their_case() {
        for action in Action::ALL {
            assert_eq!(Action::from_name(action.name()), Some(action));
            let upper = action.name().to_uppercase();
            assert_eq!(Action::from_name(&upper), Some(action));
        }
        for name in [
            "",
            "swf:StartTimer",
            "StartTimers",
            "ScheduleLambdaFunction",
        ] {
            assert_eq!(Action::from_name(name), None);
        }
    }

    #[test]
    fn targets_name_operations_exactly() {
        for action in operations() {
            let target = format!("SimpleWorkflowService.{}", action.name());
            assert_eq!(Action::from_target(&target), Some(action));
            assert_eq!(Action::from_target(&target.to_lowercase()), None);
            assert_eq!(Action::from_target(action.name()), None);
        }
        for action in permissions() {
            let target = format!("SimpleWorkflowService.{}", action.name());
            assert_eq!(Action::from_target(&target), None);
        }
    }

    #[test]
    fn names_of_keys_are_those_of_all_actions() {
        let names: Vec<_> = condition_key_names().collect();
        let used: BTreeSet<_> = Action::ALL
            .into_iter()
            .flat_map(|action| action.condition_keys().iter().copied())
            .collect();
        assert_eq!(names, used.into_iter().collect::<Vec<_>>());
        for name in names {
            assert!(is_condition_key(name) && is_condition_key(&name.to_uppercase()));
        }
        for wrong in ["swf:tagList.member.5", "swf:taskList", "taskList.name", ""] {
            assert!(!is_condition_key(wrong), "{wrong}");
        }
    }
}

mod calls {
    use super::*;

    #[test]
    fn every_operation_reads_its_scope_and_keys() {
        let filter = "domain Orders swf:tagfilter.tag=filtered swf:typefilter.name=type \
                      swf:typefilter.version=f1";
        let list = "domain Orders swf:tasklist.name=list";
        let activity = "domain Orders swf:activitytype.name=activity swf:activitytype.version=a1";
        let workflow = "domain Orders swf:workflowtype.name=workflow swf:workflowtype.version=w1";
        let new = "domain Orders swf:defaulttasklist.name=default swf:name=Name swf:version=v1";
        let start = "domain Orders swf:taglist.member.0=t0 swf:taglist.member.1=t1 \
                     swf:taglist.member.2=t2 swf:taglist.member.3=t3 swf:taglist.member.4=t4 \
                     swf:tasklist.name=list swf:workflowtype.name=workflow \
                     swf:workflowtype.version=w1";
        let arn = "arn arn:aws:swf:eu-west-1:111122223333:/domain/Orders";
        let tags = "aws:requesttag/team=Blue aws:requesttag/bare= aws:tagkeys=Team+bare";
        let (domain, name, token) = ("domain Orders", "domain Name", "token AAAA");
        let expected = [
            ("CountClosedWorkflowExecutions", filter),
            ("CountOpenWorkflowExecutions", filter),
            ("CountPendingActivityTasks", list),
            ("CountPendingDecisionTasks", list),
            ("DeleteActivityType", activity),
            ("DeleteWorkflowType", workflow),
            ("DeprecateActivityType", activity),
            ("DeprecateDomain", name),
            ("DeprecateWorkflowType", workflow),
            ("DescribeActivityType", activity),
            ("DescribeDomain", name),
            ("DescribeWorkflowExecution", domain),
            ("DescribeWorkflowType", workflow),
            ("GetWorkflowExecutionHistory", domain),
            ("ListActivityTypes", domain),
            ("ListClosedWorkflowExecutions", filter),
            ("ListDomains", "every domain"),
            ("ListOpenWorkflowExecutions", filter),
            ("ListTagsForResource", arn),
            ("ListWorkflowTypes", domain),
            ("PollForActivityTask", list),
            ("PollForDecisionTask", list),
            ("RecordActivityTaskHeartbeat", token),
            ("RegisterActivityType", new),
            ("RegisterDomain", &format!("{name} {tags}")),
            ("RegisterWorkflowType", new),
            ("RequestCancelWorkflowExecution", domain),
            ("RespondActivityTaskCanceled", token),
            ("RespondActivityTaskCompleted", token),
            ("RespondActivityTaskFailed", token),
            ("RespondDecisionTaskCompleted", token),
            ("SignalWorkflowExecution", domain),
            ("StartWorkflowExecution", start),
            ("TagResource", &format!("{arn} {tags}")),
            ("TerminateWorkflowExecution", domain),
            ("UndeprecateActivityType", activity),
            ("UndeprecateDomain", name),
            ("UndeprecateWorkflowType", workflow),
            ("UntagResource", &format!("{arn} aws:tagkeys=Team+stage")),
        ];
        let expected = expected.map(|(name, rest)| format!("{name} {rest}"));
        assert_eq!(operations().map(line).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn only_decision_completion_has_decisions() {
        for action in operations() {
            let decisions = read(action, &everything()).unwrap().decisions;
            let expected = usize::from(action == Action::RespondDecisionTaskCompleted);
            assert_eq!(decisions.len(), expected, "{action}");
        }
    }

    #[test]
    fn members_that_are_not_there_give_no_keys() {
        let scopes = json!({"domain": "d", "name": "n", "resourceArn": "a", "taskToken": "t"});
        for action in operations() {
            let keys = read(action, &scopes).unwrap().keys;
            // A new type has a name of its own.
            let own = match action {
                Action::RegisterActivityType | Action::RegisterWorkflowType => 1,
                _ => 0,
            };
            assert_eq!(keys.len(), own, "{action}");
        }
        let empty = json!({
            "domain": "d", "name": "n", "resourceArn": "a",
            "tagList": [], "tags": [], "tagKeys": [], "taskList": {}, "workflowType": {"name": "w"},
        });
        let keys = |action| shown(&read(action, &empty).unwrap().keys);
        assert_eq!(
            keys(Action::StartWorkflowExecution),
            ["swf:workflowtype.name=w"]
        );
        for action in [
            Action::RegisterDomain,
            Action::TagResource,
            Action::UntagResource,
        ] {
            assert_eq!(keys(action), [""; 0]);
        }
    }

    #[test]
    fn scope_has_to_be_there_and_filled() {
        for action in operations() {
            let empty = read(action, &json!({}));
            if action == Action::ListDomains {
                assert_eq!(empty.unwrap().scope, Scope::EveryDomain);
                continue;
            }
            let Err(CallFault::Missing { path }) = empty else {
                panic!("{action}: {empty:?}");
            };
            for (value, expected) in [
                (json!(""), "is empty"),
                (json!(null), "is missing"),
                (json!(["d"]), "is a list, not a string"),
                (json!("d\0"), "holds the character U+0000"),
            ] {
                let body = json!({ path.as_str(): value });
                assert_eq!(message(action, &body), format!("`{path}` {expected}"));
            }
            assert!(read(action, &json!({ path: "d" })).is_ok());
        }
    }

    #[test]
    fn values_of_the_wrong_type_are_faults_where_they_are_read() {
        let cases = [
            (Action::PollForActivityTask, "/taskList", "taskList"),
            (
                Action::PollForDecisionTask,
                "/taskList/name",
                "taskList.name",
            ),
            (
                Action::ListOpenWorkflowExecutions,
                "/tagFilter/tag",
                "tagFilter.tag",
            ),
            (
                Action::CountOpenWorkflowExecutions,
                "/typeFilter/version",
                "typeFilter.version",
            ),
            (
                Action::DeleteActivityType,
                "/activityType/name",
                "activityType.name",
            ),
            (
                Action::DeleteWorkflowType,
                "/workflowType/version",
                "workflowType.version",
            ),
            (
                Action::RegisterActivityType,
                "/defaultTaskList/name",
                "defaultTaskList.name",
            ),
            (Action::RegisterWorkflowType, "/version", "version"),
            (Action::StartWorkflowExecution, "/tagList", "tagList"),
            (Action::StartWorkflowExecution, "/tagList/3", "tagList[3]"),
            (Action::RegisterDomain, "/tags", "tags"),
            (Action::TagResource, "/tags/1", "tags[1]"),
            (Action::TagResource, "/tags/1/key", "tags[1].key"),
            (Action::RegisterDomain, "/tags/0/value", "tags[0].value"),
            (Action::UntagResource, "/tagKeys", "tagKeys"),
            (Action::UntagResource, "/tagKeys/1", "tagKeys[1]"),
            (
                Action::RespondDecisionTaskCompleted,
                "/decisions",
                "decisions",
            ),
            (
                Action::RespondDecisionTaskCompleted,
                "/decisions/0",
                "decisions[0]",
            ),
            (
                Action::RespondDecisionTaskCompleted,
                "/decisions/0/decisionType",
                "decisions[0].decisionType",
            ),
            (
                Action::RespondDecisionTaskCompleted,
                "/decisions/0/startTimerDecisionAttributes",
                "decisions[0].startTimerDecisionAttributes",
            ),
        ];
        for (action, pointer, expected) in cases {
            for wrong in [json!(1.5), json!(true)] {
                let mut body = everything();
                *body.pointer_mut(pointer).unwrap() = wrong;
                match read(action, &body) {
                    Err(CallFault::Type { path, .. }) => assert_eq!(path, expected),
                    other => panic!("{action} {pointer}: {other:?}"),
                }
                // Who does not read it does not mind it.
                assert!(read(Action::ListDomains, &body).is_ok());
            }
        }
    }

    #[test]
    fn tags_are_limited_to_what_swf_allows() {
        let tags = |count| json!({"domain": "d", "tagList": vec!["t"; count]});
        assert!(read(Action::StartWorkflowExecution, &tags(5)).is_ok());
        assert_eq!(
            message(Action::StartWorkflowExecution, &tags(6)),
            "`tagList` has 6 items, and the most is 5"
        );
        let tags = |count| {
            let names = (0..count).map(|number| number.to_string());
            let tags: Vec<_> = names.clone().map(|key| json!({ "key": key })).collect();
            json!({"resourceArn": "a", "tags": tags, "tagKeys": names.collect::<Vec<_>>()})
        };
        for action in [Action::TagResource, Action::UntagResource] {
            assert!(read(action, &tags(50)).is_ok());
            assert!(message(action, &tags(51)).ends_with("has 51 items, and the most is 50"));
        }
    }

    /// A body with a text in it.
    type Body<'a> = &'a dyn Fn(&str) -> Value;

    #[test]
    fn what_documents_can_see_is_no_longer_than_swf_takes() {
        let decision = |kind: &str, attributes: Value| {
            let member = format!("{}DecisionAttributes", kind.replacen('S', "s", 1));
            json!({"taskToken": "t", "decisions": [{"decisionType": kind, member: attributes}]})
        };
        let completed = Action::RespondDecisionTaskCompleted;
        let members: [(Action, &str, usize, Body<'_>); 12] = [
            (
                Action::DescribeDomain,
                "name",
                256,
                &|text| json!({ "name": text }),
            ),
            (
                Action::ListActivityTypes,
                "domain",
                256,
                &|text| json!({ "domain": text }),
            ),
            (
                Action::TagResource,
                "resourceArn",
                1_600,
                &|text| json!({ "resourceArn": text }),
            ),
            (
                Action::RespondActivityTaskCompleted,
                "taskToken",
                1_024,
                &|text| json!({ "taskToken": text }),
            ),
            (
                Action::RegisterActivityType,
                "version",
                64,
                &|text| json!({"domain": "d", "name": "n", "version": text}),
            ),
            (
                Action::StartWorkflowExecution,
                "workflowType.name",
                256,
                &|text| json!({"domain": "d", "workflowType": {"name": text}}),
            ),
            (
                Action::StartWorkflowExecution,
                "tagList[1]",
                256,
                &|text| json!({"domain": "d", "tagList": ["t", text]}),
            ),
            (
                Action::CountOpenWorkflowExecutions,
                "typeFilter.version",
                64,
                &|text| json!({"domain": "d", "typeFilter": {"name": "n", "version": text}}),
            ),
            (
                Action::RegisterDomain,
                "tags[0].key",
                128,
                &|text| json!({"name": "d", "tags": [{"key": text}]}),
            ),
            (
                Action::RegisterDomain,
                "tags[0].value",
                256,
                &|text| json!({"name": "d", "tags": [{"key": "k", "value": text}]}),
            ),
            (
                Action::UntagResource,
                "tagKeys[0]",
                128,
                &|text| json!({"resourceArn": "a", "tagKeys": [text]}),
            ),
            (
                completed,
                "decisions[0].scheduleActivityTaskDecisionAttributes.taskList.name",
                256,
                &|text| decision("ScheduleActivityTask", json!({"taskList": {"name": text}})),
            ),
        ];
        for (action, path, most, body) in members {
            // Characters count, not bytes.
            for character in ["a", "\u{e9}"] {
                assert!(
                    read(action, &body(&character.repeat(most))).is_ok(),
                    "{path}"
                );
                let longer = read(action, &body(&character.repeat(most + 1)));
                let path = path.to_owned();
                assert_eq!(longer, Err(CallFault::TooLong { path, most }));
            }
        }
    }

    #[test]
    fn tags_that_iam_cannot_tell_apart_are_a_fault() {
        let tags = |other| {
            json!({"name": "d", "tags": [
                {"key": "team", "value": "blue"}, {"key": other, "value": "red"},
            ]})
        };
        assert_eq!(
            message(Action::RegisterDomain, &tags("Team")),
            "`tags[1].key` is `Team`, which an earlier tag has too"
        );
        assert!(read(Action::RegisterDomain, &tags("Teams")).is_ok());
        assert_eq!(
            message(Action::RegisterDomain, &tags("")),
            "`tags[1].key` is empty"
        );
    }

    #[test]
    fn decisions_are_not_called() {
        for action in permissions() {
            assert_eq!(
                read(action, &everything()),
                Err(CallFault::NotOperation { action })
            );
        }
    }
}

mod decisions {
    use super::*;

    const TYPES: [&str; 13] = [
        "ScheduleActivityTask",
        "RequestCancelActivityTask",
        "CompleteWorkflowExecution",
        "FailWorkflowExecution",
        "CancelWorkflowExecution",
        "ContinueAsNewWorkflowExecution",
        "RecordMarker",
        "StartTimer",
        "CancelTimer",
        "SignalExternalWorkflowExecution",
        "RequestCancelExternalWorkflowExecution",
        "StartChildWorkflowExecution",
        "ScheduleLambdaFunction",
    ];

    fn attributes_name(kind: &str) -> String {
        kind[..1].to_lowercase() + &kind[1..] + "DecisionAttributes"
    }

    fn completion(decisions: &Value) -> Value {
        json!({"taskToken": "t", "decisions": decisions})
    }

    fn of(decisions: &Value) -> Result<Vec<Decision>, CallFault> {
        read(Action::RespondDecisionTaskCompleted, &completion(decisions))
            .map(|call| call.decisions)
    }

    fn fault_of(decisions: &Value) -> String {
        of(decisions).unwrap_err().to_string()
    }

    #[test]
    fn every_type_reads_its_permission_and_keys() {
        let attributes = json!({
            "activityType": {"name": "activity", "version": "a1"},
            "tagList": ["t0", "t1"],
            "taskList": {"name": "list"},
            "workflowType": {"name": "workflow", "version": "w1"},
            "workflowTypeVersion": "c1",
        });
        let list =
            TYPES.map(|kind| json!({"decisionType": kind, attributes_name(kind): attributes}));
        let decisions = of(&json!(list)).unwrap();
        let lines: Vec<_> = decisions
            .iter()
            .map(|one| {
                assert_eq!(TYPES[one.position], one.action.name());
                format!("{} {}", one.action.name(), shown(&one.keys).join(" "))
            })
            .collect();
        assert_eq!(
            lines,
            [
                "ScheduleActivityTask swf:activitytype.name=activity swf:activitytype.version=a1 \
                 swf:tasklist.name=list",
                "RequestCancelActivityTask ",
                "CompleteWorkflowExecution ",
                "FailWorkflowExecution ",
                "CancelWorkflowExecution ",
                "ContinueAsNewWorkflowExecution swf:taglist.member.0=t0 swf:taglist.member.1=t1 \
                 swf:tasklist.name=list swf:workflowtype.version=c1 swf:workflowtypeversion=c1",
                "RecordMarker ",
                "StartTimer ",
                "CancelTimer ",
                "SignalExternalWorkflowExecution ",
                "RequestCancelExternalWorkflowExecution ",
                "StartChildWorkflowExecution swf:taglist.member.0=t0 swf:taglist.member.1=t1 \
                 swf:tasklist.name=list swf:workflowtype.name=workflow swf:workflowtype.version=w1",
            ]
        );
    }

    #[test]
    fn attributes_of_another_type_do_not_stand_in() {
        let others = json!({"taskList": {"name": "list"}, "tagList": ["tag"]});
        for kind in permissions().map(Action::name) {
            let own = attributes_name(kind);
            for other in permissions().map(|action| attributes_name(action.name())) {
                if own != other {
                    let decision = json!([{"decisionType": kind, other: others}]);
                    assert!(of(&decision).unwrap()[0].keys.is_empty());
                }
            }
            let wrong = json!([{"decisionType": kind, own.as_str(): []}]);
            assert_eq!(
                fault_of(&wrong),
                format!("`decisions[0].{own}` is a list, not an object")
            );
            assert!(of(&json!([{"decisionType": kind, own.as_str(): {}}])).is_ok());
            assert!(of(&json!([{"decisionType": kind, own: null}])).is_ok());
        }
    }

    #[test]
    fn lambda_functions_need_no_permission_but_keep_their_place() {
        let lambda = json!({
            "decisionType": "ScheduleLambdaFunction", "scheduleLambdaFunctionDecisionAttributes": {},
        });
        let timer = json!({"decisionType": "StartTimer", "startTimerDecisionAttributes": {}});
        let decisions = of(&json!([lambda, timer])).unwrap();
        assert_eq!(
            decisions,
            [Decision {
                position: 1,
                action: Action::StartTimer,
                keys: Vec::new(),
            }]
        );
    }

    #[test]
    fn unknown_types_are_faults() {
        for kind in [
            "",
            "startTimer",
            "StartTimers",
            "TagResource",
            "schedulelambdafunction",
        ] {
            assert_eq!(
                fault_of(&json!([{"decisionType": kind}])),
                format!("`decisions[0].decisionType` is `{kind}`, which is no type of decision")
            );
        }
        assert_eq!(
            fault_of(&json!([{}])),
            "`decisions[0].decisionType` is missing"
        );
    }

    #[test]
    fn faults_say_where_in_the_list() {
        let timer = json!({"decisionType": "StartTimer", "startTimerDecisionAttributes": {}});
        let wrong = json!({
            "decisionType": "ScheduleActivityTask",
            "scheduleActivityTaskDecisionAttributes": {"activityType": {"name": 7}},
        });
        assert_eq!(
            fault_of(&json!([timer, timer, timer, wrong])),
            "`decisions[3].scheduleActivityTaskDecisionAttributes.activityType.name` is a number, \
             not a string"
        );
    }

    #[test]
    fn no_list_is_no_decision() {
        let call = read(
            Action::RespondDecisionTaskCompleted,
            &json!({"taskToken": "t"}),
        );
        assert_eq!(call.unwrap().decisions, []);
        assert_eq!(of(&json!([])), Ok(Vec::new()));
        assert_eq!(fault_of(&json!({})), "`decisions` is an object, not a list");
    }
}

mod hostile {
    use super::*;

    #[test]
    fn members_that_are_there_twice_are_refused_at_every_level() {
        let twice = [
            r#"{"domain":"a","domain":"a"}"#,
            r#"{"domain":"a","\u0064omain":"b"}"#,
            r#"{"domain":"a","x":{"y":[{"z":1,"w":2,"z":3}]}}"#,
            r#"{"domain":"a","x":[[{"":1,"":1}]]}"#,
        ];
        for body in twice {
            let fault = fault(Action::ListActivityTypes, body.as_bytes());
            assert!(fault.to_string().contains("` is there twice"), "{fault}");
        }
        // One level apart, or in another case, they are different members.
        let once = br#"{"domain":"a","x":{"domain":"b"},"Domain":"c"}"#;
        let call = read_call(Action::ListActivityTypes, once).unwrap();
        assert_eq!(call.scope, Scope::Domain("a".to_owned()));
    }

    #[test]
    fn faults_in_json_say_where() {
        assert_eq!(
            fault(
                Action::ListActivityTypes,
                b"{\"domain\":\n \"a\",\"domain\":\"b\"}"
            ),
            CallFault::Malformed {
                reason: "member `domain` is there twice".to_owned(),
                line: 2,
                column: 18,
            }
        );
    }

    #[test]
    fn what_is_not_one_json_object_is_a_fault() {
        let bodies: [&[u8]; 18] = [
            b"",
            b" ",
            b"null",
            b"[]",
            b"\"domain\"",
            b"1",
            b"{",
            b"{}{}",
            b"{} x",
            b"{\"domain\":\"a\",}",
            b"{domain:\"a\"}",
            b"{\"domain\":'a'}",
            b"/**/{\"domain\":\"a\"}",
            b"\xef\xbb\xbf{\"domain\":\"a\"}",
            b"{\"domain\":\"a\0\"}",
            b"{\"domain\":\"a\",\"x\":\"\xff\"}",
            b"{\"domain\":\"\\ud800\"}",
            b"{\"domain\":\"a\",\"x\":1e999}",
        ];
        for body in bodies {
            for action in operations() {
                let fault = fault(action, body);
                assert!(
                    matches!(fault, CallFault::Malformed { .. } | CallFault::Type { .. }),
                    "{fault}"
                );
            }
        }
        assert_eq!(
            fault(Action::ListDomains, b"[]").to_string(),
            "`body` is a list, not an object"
        );
    }

    #[test]
    fn deep_bodies_are_faults() {
        for (open, depth) in [("[", 100_000), ("{\"x\":", 100_000), ("[", 128)] {
            let body = format!("{{\"domain\":\"a\",\"x\":{}", open.repeat(depth));
            assert!(matches!(
                fault(Action::ListDomains, body.as_bytes()),
                CallFault::Malformed { .. }
            ));
        }
        let fine = format!("{{\"x\":{}{}}}", "[".repeat(100), "]".repeat(100));
        assert!(read_call(Action::ListDomains, fine.as_bytes()).is_ok());
    }

    #[test]
    fn bodies_end_at_the_limit() {
        let body = |length: usize| {
            let mut body = b"{}".to_vec();
            body.resize(length, b' ');
            body
        };
        assert!(read_call(Action::ListDomains, &body(MAX_BODY)).is_ok());
        assert_eq!(
            fault(Action::ListDomains, &body(MAX_BODY + 1)),
            CallFault::Large {
                bytes: MAX_BODY + 1
            }
        );
    }

    #[test]
    fn messages_show_hostile_text_harmlessly_and_cut() {
        let kind = "\u{1b}[2J".to_owned() + &"x".repeat(1_000);
        let body = json!({"taskToken": "t", "decisions": [{"decisionType": kind}]});
        let message = message(Action::RespondDecisionTaskCompleted, &body);
        assert!(
            message.len() < 200 && !message.contains('\u{1b}'),
            "{message}"
        );
        let name = "y".repeat(1_000);
        let body = format!("{{\"{name}\":1,\"{name}\":2}}");
        let message = fault(Action::ListDomains, body.as_bytes()).to_string();
        assert!(message.len() < 200, "{message}");
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "\\PC{0,8}|\0|StartTimer|ScheduleActivityTask".prop_map(Value::from),
        ];
        let names = select(vec![
            "name",
            "version",
            "tag",
            "key",
            "value",
            "decisionType",
            "x",
        ]);
        leaf.prop_recursive(4, 32, 6, move |inner| {
            prop_oneof![
                vec(inner.clone(), 0..6).prop_map(Value::from),
                hash_map(names.clone(), inner, 0..5).prop_map(|members| {
                    let members = members.into_iter();
                    members
                        .map(|(name, value)| (name.to_owned(), value))
                        .collect()
                }),
            ]
        })
    }

    /// [`everything`] with something else put anywhere.
    fn any_body() -> impl Strategy<Value = Value> {
        let places = vec![
            "/activityType",
            "/activityType/name",
            "/decisions",
            "/decisions/0",
            "/domain",
            "/name",
            "/tagKeys",
            "/tagKeys/0",
            "/tagList",
            "/tagList/2",
            "/tags",
            "/tags/0",
            "/tags/1/key",
            "/taskList",
            "/taskList/name",
            "/taskToken",
            "/typeFilter",
            "/version",
            "/workflowType/version",
        ];
        vec((select(places), any_json()), 0..3).prop_map(|changes| {
            let mut body = everything();
            for (place, value) in changes {
                if let Some(place) = body.pointer_mut(place) {
                    *place = value;
                }
            }
            body
        })
    }

    /// The value of a `swf:` key, looked up the plain way.
    fn plain(key: &str, body: &Value) -> Option<String> {
        let path = key.trim_start_matches("swf:").replace(".member.", ".");
        match body.pointer(&format!("/{}", path.replace('.', "/")))? {
            Value::Null => None,
            value => Some(value.as_str().unwrap().to_owned()),
        }
    }

    proptest! {
        #[test]
        fn bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..200), index in 0..51usize) {
            // Random bytes are no JSON object, but for the rarest.
            if read_call(Action::ALL[index], &bytes).is_ok() {
                prop_assert!(serde_json::from_slice::<Value>(&bytes).unwrap().is_object());
            }
        }

        #[test]
        fn cut_and_changed_bodies_are_read_or_refused(
            index in 0..39usize, at in any::<proptest::sample::Index>(), byte: u8, cut: bool,
        ) {
            let mut body = everything().to_string().into_bytes();
            let at = at.index(body.len());
            body[at] = byte;
            if cut {
                body.truncate(at);
                prop_assert!(read_call(Action::ALL[index], &body).is_err());
            } else if read_call(Action::ALL[index], &body).is_ok() {
                prop_assert!(serde_json::from_slice::<Value>(&body).is_ok());
            }
        }

        #[test]
        fn any_json_is_read_or_refused(body in any_json(), index in 0..51usize) {
            if read(Action::ALL[index], &body).is_ok() {
                prop_assert!(body.is_object());
            }
        }

        #[test]
        fn what_is_read_is_what_a_plain_look_finds(body in any_body(), index in 0..39usize) {
            let action = Action::ALL[index];
            let Ok(call) = read(action, &body) else {
                return Ok(());
            };
            let keys: Vec<_> = call.keys.iter().filter(|(key, _)| key.starts_with("swf:")).cloned().collect();
            let expected: Vec<_> = action
                .condition_keys()
                .iter()
                .filter_map(|key| Some((key.to_lowercase(), vec![plain(key, &body)?])))
                .collect();
            prop_assert_eq!(keys, expected);
            let text = |name: &str| body[name].as_str().unwrap().to_owned();
            match call.scope {
                Scope::Domain(domain) => {
                    let member = if line(action).contains("domain Name") { "name" } else { "domain" };
                    prop_assert_eq!(domain, text(member));
                }
                Scope::EveryDomain => prop_assert_eq!(action, Action::ListDomains),
                Scope::ResourceArn(arn) => prop_assert_eq!(arn, text("resourceArn")),
                Scope::TaskToken(token) => prop_assert_eq!(token, text("taskToken")),
            }
        }
    }
}

mod tokens {
    use super::*;

    #[test]
    fn tokens_are_learned_learned_anew_and_forgotten() {
        let mut cache = TokenCache::default();
        assert!(cache.is_empty());
        cache.learn("a", "first").unwrap();
        assert_eq!(cache.domain("a"), Some("first"));
        assert_eq!(cache.domain("A"), None);
        cache.learn("a", "second").unwrap();
        assert_eq!((cache.domain("a"), cache.len()), (Some("second"), 1));
        cache.forget("a");
        cache.forget("b");
        assert_eq!(
            (cache.domain("a"), cache.len(), cache.bytes()),
            (None, 0, 0)
        );
    }

    #[test]
    fn the_oldest_learned_goes_first_and_learning_anew_is_learning() {
        let mut cache = TokenCache::new(2);
        for token in ["a", "b", "a", "c"] {
            cache.learn(token, "d").unwrap();
        }
        let known = ["a", "b", "c"].map(|token| cache.domain(token).is_some());
        assert_eq!(known, [true, false, true]);
    }

    #[test]
    fn a_cache_for_nothing_learns_nothing() {
        let mut cache = TokenCache::new(0);
        cache.learn("a", "d").unwrap();
        assert_eq!((cache.len(), cache.bytes()), (0, 0));
    }

    #[test]
    fn bytes_are_bounded_whatever_the_capacity() {
        let domain = "\u{1f980}".repeat(DOMAIN);
        let mut cache = TokenCache::new(usize::MAX);
        let fit = MAX_BYTES / cost(&domain);
        for token in 0..fit + 100 {
            cache.learn(&token.to_string(), &domain).unwrap();
        }
        assert_eq!(cache.len(), fit);
        assert!(cache.bytes() <= MAX_BYTES);
        assert_eq!(cache.domain("99"), None);
        assert_eq!(cache.domain("100"), Some(&*domain));
    }

    #[test]
    fn lengths_that_swf_does_not_have_are_not_learned() {
        let mut cache = TokenCache::default();
        let characters = |count| "\u{e9}".repeat(count);
        for count in [0, TOKEN + 1] {
            assert_eq!(
                cache.learn(&characters(count), "d"),
                Err(TokenFault::TokenLength { characters: count })
            );
        }
        for count in [0, DOMAIN + 1] {
            assert_eq!(
                cache.learn("t", &characters(count)),
                Err(TokenFault::DomainLength { characters: count })
            );
        }
        assert!(cache.is_empty());
        let longest = cache.learn(&characters(TOKEN), &characters(DOMAIN));
        assert_eq!((longest, cache.len()), (Ok(()), 1));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Forget(u8),
        Learn(u8, usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            1 => (0..12u8).prop_map(Step::Forget),
            4 => (0..12u8, 1..=DOMAIN).prop_map(|(token, length)| Step::Learn(token, length)),
        ];
        vec(step, 0..120)
    }

    proptest! {
        #[test]
        fn the_cache_does_what_a_list_would(
            steps in steps(), capacity in 0..8usize, budget in 0..2_000usize,
        ) {
            let mut cache = TokenCache::bounded(capacity, budget);
            // The oldest first.
            let mut list: Vec<(String, String)> = Vec::new();
            for step in steps {
                let (Step::Forget(token) | Step::Learn(token, _)) = step;
                let token = token.to_string();
                list.retain(|(other, _)| *other != token);
                match step {
                    Step::Forget(_) => cache.forget(&token),
                    Step::Learn(_, length) => {
                        let domain = "d".repeat(length);
                        cache.learn(&token, &domain).unwrap();
                        list.push((token, domain));
                    }
                }
                let bytes = |list: &[(String, String)]| -> usize {
                    list.iter().map(|(_, domain)| cost(domain)).sum()
                };
                while list.len() > capacity || bytes(&list) > budget {
                    list.remove(0);
                }
                prop_assert_eq!(cache.len(), list.len());
                prop_assert_eq!(cache.bytes(), bytes(&list));
                prop_assert!(cache.len() <= capacity && cache.bytes() <= budget);
                for token in 0..12u8 {
                    let token = token.to_string();
                    let known = list.iter().find(|(other, _)| *other == token);
                    prop_assert_eq!(cache.domain(&token), known.map(|(_, domain)| &**domain));
                }
            }
        }
    }
}
