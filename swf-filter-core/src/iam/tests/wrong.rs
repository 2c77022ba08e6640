//! Wrong documents: each is a right one with one thing changed, and is refused at the line of the change.

use super::read;
use crate::iam::Kind;
use crate::policy::Problem;
use crate::policy::fault::SEARCHES;

const RIGHT: &str = r#"{
  "Version": "2012-10-17",
  "Id": "orders",
  "Statement": [
    {
      "Sid": "Office",
      "Effect": "Allow",
      "Principal": {"AWS": ["111122223333", "arn:aws:iam::111122223333:user/alice"]},
      "Action": ["swf:StartWorkflowExecution", "swf:List*"],
      "Resource": "arn:aws:swf:us-east-1:111122223333:/domain/${aws:username}",
      "Condition": {
        "IpAddress": {"aws:SourceIp": ["192.0.2.0/24", "2001:db8::/32"]},
        "StringLike": {"swf:workflowType.name": "order-*"},
        "NumericLessThan": {"aws:MultiFactorAuthAge": 300},
        "DateGreaterThan": {"aws:CurrentTime": "2026-01-01T00:00:00Z"},
        "Bool": {"aws:SecureTransport": true},
        "ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:user/*"},
        "Null": {"aws:TagKeys": "true"},
        "BinaryEquals": {"aws:userid": "QQ=="}
      }
    },
    {
      "Sid": "Lab",
      "Effect": "Deny",
      "NotPrincipal": "*",
      "NotAction": "swf:ListDomains",
      "NotResource": "*"
    }
  ]
}
"#;

/// What is changed into what, the line where that is refused, and what the message or its help has to say.
const WRONG: &[(&str, &str, u32, &str)] = &[
    // JSON
    ("\"Id\": \"orders\",", "\"Id\": \"orders\"", 3, "JSON"),
    ("\"Id\": \"orders\",", "\"Id\": \"orders\",,", 3, "JSON"),
    ("\"Id\": \"orders\",", "\"Id\": 'orders',", 3, "JSON"),
    (
        "\"Id\": \"orders\",",
        "\"Id\": \"orders\", // mine",
        3,
        "JSON",
    ),
    ("\"Id\": \"orders\",", "Id: \"orders\",", 3, "JSON"),
    ("\"Id\": \"orders\",", "\"Id\": \"or\\qders\",", 3, "JSON"),
    ("\"Id\": \"orders\",", "\"Id\": \"orders,", 4, "JSON"),
    ("\"Id\": \"orders\",", "\"Id\" \"orders\",", 3, "JSON"),
    ("\"QQ==\"}", "\"QQ==\"},", 19, "JSON"),
    ("\"NotResource\": \"*\"", "\"NotResource\": NaN", 27, "JSON"),
    ("  ]\n}\n", "  ]\n}\n{}", 31, "JSON"),
    (
        "\"Id\": \"orders\",",
        "\"Id\": \"orders\", \"Id\": \"orders\",",
        3,
        "written twice",
    ),
    (
        "\"Sid\": \"Lab\",",
        "\"Sid\": \"Lab\", \"Effect\": \"Deny\",",
        24,
        "written twice",
    ),
    (
        "\"Null\": {",
        "\"Bool\": {\"aws:ViaAWSService\": true}, \"Null\": {",
        18,
        "written twice",
    ),
    (
        "{\"aws:TagKeys\": \"true\"}",
        "{\"aws:TagKeys\": \"true\", \"aws:TagKeys\": \"true\"}",
        18,
        "written twice",
    ),
    // Elements
    ("\"Id\": \"orders\",", "\"id\": \"orders\",", 3, "`Id`"),
    ("\"Id\": \"orders\",", "\"Id\": 7,", 3, "a string"),
    ("\"Id\": \"orders\",", "\"Name\": \"orders\",", 3, "`Name`"),
    ("2012-10-17", "2012-10-18", 2, "`2012-10-17`"),
    ("\"2012-10-17\"", "2012", 2, "a string"),
    ("\"Statement\": [", "\"Statements\": [", 1, "`Statement`"),
    ("\"Sid\": \"Lab\"", "\"Sid\": \"Office\"", 23, "`Office`"),
    ("\"Sid\": \"Lab\"", "\"Sid\": [\"Lab\"]", 23, "a string"),
    ("\"Sid\": \"Lab\"", "\"sid\": \"Lab\"", 23, "`Sid`"),
    ("\"Effect\": \"Deny\"", "\"Effect\": \"deny\"", 24, "`Deny`"),
    (
        "\"Effect\": \"Deny\"",
        "\"Effect\": \"Permit\"",
        24,
        "`Permit`",
    ),
    ("\"Effect\": \"Deny\"", "\"Effect\": true", 24, "a string"),
    (
        "\"Effect\": \"Deny\"",
        "\"Effects\": \"Deny\"",
        22,
        "`Effect`",
    ),
    ("\"NotAction\"", "\"NotActions\"", 22, "`Action`"),
    ("\"NotResource\"", "\"Resources\"", 22, "`Resource`"),
    ("\"NotPrincipal\": \"*\",", "", 22, "`Principal`"),
    (
        "\"NotPrincipal\": \"*\",",
        "\"NotPrincipal\": \"*\", \"Principal\": \"*\",",
        25,
        "not both",
    ),
    (
        "\"NotResource\": \"*\"",
        "\"NotResource\": \"*\", \"Resource\": \"*\"",
        27,
        "not both",
    ),
    (
        "\"Action\": [\"swf:Start",
        "\"NotAction\": \"*\", \"Action\": [\"swf:Start",
        9,
        "not both",
    ),
    ("\"Condition\": {", "\"Conditions\": {", 11, "`Condition`"),
    // Actions
    (
        "swf:StartWorkflowExecution",
        "swf:StratWorkflowExecution",
        9,
        "`swf:StartWorkflowExecution`",
    ),
    (
        "swf:StartWorkflowExecution",
        "StartWorkflowExecution",
        9,
        "is not an action",
    ),
    ("swf:StartWorkflowExecution", "swf:", 9, "is not an action"),
    (
        "swf:StartWorkflowExecution",
        ":StartTimer",
        9,
        "is not an action",
    ),
    ("swf:StartWorkflowExecution", "", 9, "is not an action"),
    (
        "swf:StartWorkflowExecution",
        " swf:StartTimer",
        9,
        "is not an action",
    ),
    (
        "swf:StartWorkflowExecution",
        "swf:StartTimer ",
        9,
        "is not an action",
    ),
    (
        "swf:StartWorkflowExecution",
        "swf:StartTimer,swf:CancelTimer",
        9,
        "is not an action",
    ),
    (
        "swf:StartWorkflowExecution",
        "s*:StartTimer",
        9,
        "is not an action",
    ),
    ("swf:List*", "swf:Lits*", 9, "SWF has no action"),
    ("swf:List*", "swf:Begin*", 9, "SWF has no action"),
    (
        "[\"swf:StartWorkflowExecution\", \"swf:List*\"]",
        "[]",
        9,
        "is empty",
    ),
    (
        "[\"swf:StartWorkflowExecution\", \"swf:List*\"]",
        "7",
        9,
        "a string or a list",
    ),
    (
        "[\"swf:StartWorkflowExecution\", \"swf:List*\"]",
        "[[\"swf:*\"]]",
        9,
        "a string or a list",
    ),
    (
        "[\"swf:StartWorkflowExecution\", \"swf:List*\"]",
        "null",
        9,
        "a string or a list",
    ),
    (
        "\"swf:ListDomains\"",
        "{\"swf\": \"ListDomains\"}",
        26,
        "a string or a list",
    ),
    // Resources
    (
        "\"NotResource\": \"*\"",
        "\"NotResource\": []",
        27,
        "is empty",
    ),
    (
        "\"NotResource\": \"*\"",
        "\"NotResource\": \"\"",
        27,
        "is not an ARN",
    ),
    (
        "\"NotResource\": \"*\"",
        "\"NotResource\": \"orders\"",
        27,
        "is not an ARN",
    ),
    (
        "\"NotResource\": \"*\"",
        "\"NotResource\": \"arn:aws:swf\"",
        27,
        "is not an ARN",
    ),
    (
        "\"NotResource\": \"*\"",
        "\"NotResource\": \"arn:aws:swf:us-east-1:/domain/a\"",
        27,
        "is not an ARN",
    ),
    (
        "\"NotResource\": \"*\"",
        "\"NotResource\": \"ARN:aws:swf:::/domain/a\"",
        27,
        "is not an ARN",
    ),
    (
        "\"NotResource\": \"*\"",
        "\"NotResource\": false",
        27,
        "a string or a list",
    ),
    ("${aws:username}", "${aws:username", 10, "closing brace"),
    ("${aws:username}", "${}", 10, "names no key"),
    ("${aws:username}", "${aws:user}", 10, "`aws:user`"),
    (
        "${aws:username}",
        "${aws:username, nobody}",
        10,
        "without quotes",
    ),
    ("${aws:username}", "${aws:ResourceTag/a}", 10, "cannot know"),
    // Principals
    (
        "\"111122223333\"",
        "\"11112222333\"",
        8,
        "is not a principal",
    ),
    (
        "\"111122223333\"",
        "\"1111-2222-3333\"",
        8,
        "is not a principal",
    ),
    ("user/alice\"", "user/*\"", 8, "is not a principal"),
    ("user/alice\"", "user/\"", 8, "is not a principal"),
    ("user/alice\"", "group/admins\"", 8, "is not a principal"),
    (
        "arn:aws:iam::111122223333:user/alice",
        "arn:aws:iam:us-east-1:111122223333:user/alice",
        8,
        "is not a principal",
    ),
    (
        "arn:aws:iam::111122223333:user/alice",
        "arn:aws:iam::*:user/alice",
        8,
        "is not a principal",
    ),
    (
        "arn:aws:iam::111122223333:user/alice",
        "alice",
        8,
        "is not a principal",
    ),
    ("{\"AWS\": [", "{\"Aws\": [", 8, "`AWS`"),
    ("{\"AWS\": [", "{\"Users\": [", 8, "`Users`"),
    (
        "\"NotPrincipal\": \"*\"",
        "\"NotPrincipal\": \"111122223333\"",
        25,
        "is not a principal",
    ),
    (
        "\"NotPrincipal\": \"*\"",
        "\"NotPrincipal\": [\"*\"]",
        25,
        "an object",
    ),
    (
        "\"NotPrincipal\": \"*\"",
        "\"NotPrincipal\": {}",
        25,
        "is empty",
    ),
    (
        "\"NotPrincipal\": \"*\"",
        "\"NotPrincipal\": {\"AWS\": []}",
        25,
        "is empty",
    ),
    (
        "\"NotPrincipal\": \"*\"",
        "\"NotPrincipal\": {\"AWS\": 111122223333}",
        25,
        "a string or a list",
    ),
    // Operators
    ("\"StringLike\"", "\"StringLikes\"", 13, "`StringLike`"),
    ("\"StringLike\"", "\"stringLike\"", 13, "`StringLike`"),
    (
        "\"StringLike\"",
        "\"StringLikeIfExist\"",
        13,
        "`StringLikeIfExists`",
    ),
    (
        "\"StringLike\"",
        "\"ForAllValue:StringLike\"",
        13,
        "`ForAllValues:StringLike`",
    ),
    (
        "\"StringLike\"",
        "\"ForAnyValues:StringLike\"",
        13,
        "`ForAnyValue:StringLike`",
    ),
    ("\"StringLike\"", "\"StringMatches\"", 13, "operator"),
    ("\"StringLike\"", "\"\"", 13, "operator"),
    ("\"IpAddress\"", "\"IPAddress\"", 12, "`IpAddress`"),
    ("\"IpAddress\"", "\"NotIpAdress\"", 12, "`NotIpAddress`"),
    ("\"NumericLessThan\"", "\"NumericLess\"", 14, "operator"),
    (
        "\"DateGreaterThan\"",
        "\"DateGreaterThen\"",
        15,
        "`DateGreaterThan`",
    ),
    ("\"Null\"", "\"NullIfExists\"", 18, "operator"),
    ("\"Null\"", "\"ForAllValues:Null\"", 18, "operator"),
    ("\"ArnLike\"", "\"ArnLiek\"", 17, "`ArnLike`"),
    // Keys
    ("aws:SourceIp", "aws:SourceIps", 12, "`aws:SourceIp`"),
    ("aws:SourceIp", "aws:SourceAddress", 12, "no condition key"),
    ("aws:SourceIp", "SourceIp", 12, "`aws:SourceIp`"),
    ("aws:SourceIp", "", 12, "no condition key"),
    (
        "swf:workflowType.name",
        "swf:workflowType.nam",
        13,
        "`swf:workflowType.name`",
    ),
    (
        "swf:workflowType.name",
        "swf:tagList.member.7",
        13,
        "no condition key",
    ),
    (
        "swf:workflowType.name",
        "awss:SourceVpc",
        13,
        "`aws:SourceVpc`",
    ),
    (
        "swf:workflowType.name",
        "aws:PrincipalTag/",
        13,
        "no condition key",
    ),
    (
        "swf:workflowType.name",
        "aws:ResourceTag/team",
        13,
        "cannot know",
    ),
    (
        "swf:workflowType.name",
        "aws:PrincipalOrgPaths",
        13,
        "cannot know",
    ),
    ("aws:SourceIp", "aws:SecureTransport", 12, "true or false"),
    ("aws:CurrentTime", "aws:SourceIp", 15, "an address"),
    (
        "aws:MultiFactorAuthAge",
        "aws:MultiFactorAuthPresent",
        14,
        "true or false",
    ),
    // Values
    ("192.0.2.0/24", "192.0.2.0/33", 12, "an address or a CIDR"),
    (
        "192.0.2.0/24",
        "192.0.2.0/255.255.255.0",
        12,
        "an address or a CIDR",
    ),
    (
        "192.0.2.0/24",
        "192.0.2.0-192.0.2.9",
        12,
        "an address or a CIDR",
    ),
    ("192.0.2.0/24", "300.0.2.0/24", 12, "an address or a CIDR"),
    ("192.0.2.0/24", "office.example", 12, "an address or a CIDR"),
    ("192.0.2.0/24", "", 12, "an address or a CIDR"),
    ("192.0.2.0/24", "${aws:SourceIp}", 12, "no variables"),
    ("300}", "\"many\"}", 14, "a number"),
    ("300}", "\"inf\"}", 14, "a number"),
    ("2026-01-01T00:00:00Z", "yesterday", 15, "a date"),
    ("2026-01-01T00:00:00Z", "2026-13-01", 15, "a date"),
    ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00", 15, "a date"),
    (
        "{\"aws:SecureTransport\": true}",
        "{\"aws:SecureTransport\": \"yes\"}",
        16,
        "`true` or `false`",
    ),
    (
        "{\"aws:TagKeys\": \"true\"}",
        "{\"aws:TagKeys\": 1}",
        18,
        "`true` or `false`",
    ),
    ("\"QQ==\"", "\"Q!\"", 19, "base64"),
    ("arn:aws:iam::*:user/*", "user/*", 17, "is not an ARN"),
    ("\"order-*\"", "[]", 13, "is empty"),
    ("\"order-*\"", "null", 13, "strings"),
    ("\"order-*\"", "[[\"a\"]]", 13, "strings"),
    ("\"order-*\"", "{\"a\": \"b\"}", 13, "strings"),
    (
        "{\"swf:workflowType.name\": \"order-*\"}",
        "{}",
        13,
        "is empty",
    ),
    (
        "{\"swf:workflowType.name\": \"order-*\"}",
        "[]",
        13,
        "an object",
    ),
    // JSON that lenient readers take
    ("\"Id\": \"orders\",", "\"Id\": \"or\tders\",", 3, "JSON"),
    ("\"Id\": \"orders\",", "\"Id\": \"or\nders\",", 3, "JSON"),
    ("\"Id\": \"orders\",", "\"Id\":\u{a0}\"orders\",", 3, "JSON"),
    ("\"Id\": \"orders\",", "\"Id\":\u{c}\"orders\",", 3, "JSON"),
    (
        "\"Id\": \"orders\",",
        "\"Id\":\u{2028}\"orders\",",
        3,
        "JSON",
    ),
    ("\"Id\": \"orders\",", "\"Id\": \"\\ud800\",", 3, "JSON"),
    ("\"Id\": \"orders\",", "\"Id\": \"\\x41\",", 3, "JSON"),
    (
        "\"Id\": \"orders\",",
        "/* mine */ \"Id\": \"orders\",",
        3,
        "JSON",
    ),
    (
        "\"Id\": \"orders\",",
        "\"I\\u0064\": \"a\", \"Id\": \"b\",",
        3,
        "written twice",
    ),
    ("300}", "0300}", 14, "JSON"),
    ("300}", "0x12c}", 14, "JSON"),
    ("300}", "1e400}", 14, "a number"),
    ("    }\n  ]", "    },\n  ]", 28, "JSON"),
    // Actions of a service that is SWF misspelt
    (
        "swf:ListDomains",
        "sfw:ListDomains",
        26,
        "`swf:ListDomains`",
    ),
    (
        "swf:ListDomains",
        "SimpleWorkflowService:ListDomains",
        26,
        "`swf:ListDomains`",
    ),
    // ARNs of no domain
    (
        "111122223333:/domain/$",
        "111122223333:domain/$",
        10,
        "no SWF domain",
    ),
    (
        "111122223333:/domain/$",
        "111122223333:/domains/$",
        10,
        "no SWF domain",
    ),
    (
        "111122223333:/domain/$",
        "11112222333:/domain/$",
        10,
        "no SWF domain",
    ),
    ("111122223333:/domain/$", ":/domain/$", 10, "no SWF domain"),
    (
        "us-east-1:111122223333:/domain/$",
        "US East:111122223333:/domain/$",
        10,
        "no SWF domain",
    ),
    (
        "arn:aws:swf:us-east-1",
        "arn:aws:SWF:us-east-1",
        10,
        "no SWF domain",
    ),
    (
        "arn:aws:swf:us-east-1",
        "arn:awz:swf:us-east-1",
        10,
        "is not an ARN",
    ),
    ("domain/${aws:username}", "domain/", 10, "no SWF domain"),
    (
        "domain/${aws:username}",
        "domain/$aws:username",
        10,
        "no SWF domain",
    ),
    (
        "domain/${aws:username}",
        "domain/a, arn:aws:swf:*:*:/domain/b",
        10,
        "no SWF domain",
    ),
    (
        "arn:aws:iam::*:user/*",
        "arn:awz:iam::*:user/*",
        17,
        "is not an ARN",
    ),
    // Principals that nobody is
    (
        "arn:aws:iam::111122223333:user/alice",
        "arn:aws:sts::111122223333:assumed-role/worker",
        8,
        "is not a principal",
    ),
    (
        "arn:aws:iam::111122223333:user/alice",
        "arn:aws:sts::111122223333:assumed-role/team/worker/one",
        8,
        "is not a principal",
    ),
    (
        "arn:aws:iam::111122223333:user/alice",
        "arn:awsx:iam::111122223333:user/alice",
        8,
        "is not a principal",
    ),
    (
        "arn:aws:iam::111122223333:user/alice",
        "AIDACKCEVSQ6C2EXAMPLE",
        8,
        "is not a principal",
    ),
    (
        "arn:aws:iam::111122223333:user/alice",
        "arn:aws:iam::111122223333:user/${aws:username}",
        8,
        "is not a principal",
    ),
    // Keys, operators and values
    (
        "\"aws:SourceIp\": [",
        "\"AWS:sourceIP\": \"10.0.0.1\", \"aws:SourceIp\": [",
        12,
        "written twice",
    ),
    ("aws:SourceIp", "aws:SourceIp ", 12, "no condition key"),
    (
        "\"IpAddress\"",
        "\"IpAddressIfexists\"",
        12,
        "`IpAddressIfExists`",
    ),
    (
        "\"IpAddress\"",
        "\"forAnyValue:IpAddress\"",
        12,
        "`ForAnyValue:IpAddress`",
    ),
    ("\"IpAddress\"", "\"NumericEquals\"", 12, "an address"),
    ("192.0.2.0/24", "192.0.2.0/024", 12, "an address or a CIDR"),
    ("192.0.2.0/24", "192.0.2/24", 12, "an address or a CIDR"),
    (
        "2001:db8::/32",
        "2001:db8::/129",
        12,
        "an address or a CIDR",
    ),
    ("2001:db8::/32", "fe80::1%eth0", 12, "an address or a CIDR"),
    ("2026-01-01T00:00:00Z", "2026", 15, "a date"),
    ("2026-01-01T00:00:00Z", "20260101", 15, "a date"),
    ("2026-01-01T00:00:00Z", "2026-02-30", 15, "a date"),
    ("2026-01-01T00:00:00Z", "2026-01-01 00:00:00Z", 15, "a date"),
    (
        "2026-01-01T00:00:00Z",
        "2026-01-01T00:00:00+25:00",
        15,
        "a date",
    ),
    (
        "2026-01-01T00:00:00Z",
        "2026-01-01T00:00:00Z[Europe/Berlin]",
        15,
        "a date",
    ),
    ("\"QQ==\"", "\"QR==\"", 19, "base64"),
];

#[test]
fn the_document_that_the_others_are_made_of_is_right() {
    let read = read(RIGHT, Kind::Resource);
    assert_eq!(
        read.map(|document| document.statements.len())
            .map_err(|problems| problems.to_string()),
        Ok(2)
    );
}

#[test]
fn each_wrong_document_is_refused_at_its_line() {
    let mut failures = Vec::new();
    for (from, to, line, says) in WRONG {
        assert!(RIGHT.contains(from), "{from}");
        let text = RIGHT.replacen(from, to, 1);
        let Err(problems) = read(&text, Kind::Resource) else {
            failures.push(format!("{to}: accepted"));
            continue;
        };
        let told = |problem: &Problem| {
            let help = problem.help().unwrap_or_default();
            problem.at.origin.line == *line && format!("{problem} {help}").contains(says)
        };
        if !problems.list.iter().any(told) {
            failures.push(format!("{from} -> {to}: {problems}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(WRONG.len() > 100);
}

#[test]
fn a_document_is_refused_where_it_must_not_stand() {
    for (kind, line, says) in [
        (Kind::Identity, 8, "`Principal`"),
        (Kind::Trust, 10, "`Resource`"),
    ] {
        let problems = read(RIGHT, kind).expect_err("a document of a host");
        let first = problems.list.first().expect("a problem");
        assert_eq!(first.at.origin.line, line, "{problems}");
        assert!(first.to_string().contains(says), "{problems}");
    }
}

#[test]
fn what_is_no_document_at_all_is_refused() {
    let nested = "[".repeat(100_000);
    for text in [
        "",
        " \n",
        "[]",
        "\"a\"",
        "null",
        "{}",
        "{\"Statement\": []}",
        "{\"Statement\": \"a\"}",
        "\u{feff}{}",
        &nested,
    ] {
        assert!(
            read(text, Kind::Identity).is_err(),
            "{}",
            text.get(..20).unwrap_or(text)
        );
    }
}

#[test]
fn what_was_meant_is_worked_out_for_what_is_shown_only() {
    let many = |written: &dyn Fn(usize) -> String| {
        let members: Vec<_> = (0..2_000).map(written).collect();
        members.join(", ")
    };
    let elements = many(&|number| format!("\"Actoin{number}\": 1"));
    let operators = many(&|number| format!("\"StringEqual{number}\": {{\"aws:userid\": \"a\"}}"));
    let keys = many(&|number| format!("\"aws:usernam{number}\": \"a\""));
    for (from, to) in [
        (
            "\"Sid\": \"Office\",",
            format!("\"Sid\": \"Office\", {elements},"),
        ),
        (
            "\"Condition\": {",
            format!("\"Condition\": {{ {operators},"),
        ),
        ("\"Bool\": {", format!("\"Bool\": {{ {keys},")),
    ] {
        let text = RIGHT.replacen(from, &to, 1);
        let before = SEARCHES.get();
        let problems = read(&text, Kind::Resource).unwrap_err();
        assert_eq!(problems.list.len() + problems.more, 2_000, "{from}");
        assert_eq!(SEARCHES.get(), before, "{from}");
        assert!(problems.list.iter().all(|problem| problem.help().is_some()));
        assert!(SEARCHES.get() - before <= problems.list.len(), "{from}");
    }
}
