use super::*;

const HOST: &str = "[[host]]\nname = \"a\"\naddresses = [\"192.0.2.1\"]\n";

fn read(text: &str, set: &[u8]) -> Result<Policy, Problems> {
    let file = SourceFile {
        name: "a.toml".into(),
        bytes: format!("version = 1\n{text}").as_bytes().into(),
    };
    let mut read = |path: &Path| match path.to_str() {
        Some("s.txt") => Ok(set.into()),
        _ => Err(io::ErrorKind::NotFound.into()),
    };
    parse(&[file], &mut read)
}

#[test]
fn a_whole_policy_is_linked() {
    let text = format!(
        "{HOST}allow = [\"set:s\", \"vpc:v\", \"10.0.0.1-10.0.0.2\"]\n\
         [[set]]\nname = \"s\"\nfile = \"s.txt\"\n\
         [[vpc]]\nid = \"v\"\ncidrs = [\"10.0.0.0/8\"]\nvlans = [7]\n"
    );
    let policy = read(&text, b"# comment\n10.1.0.0/16 # more\r\n\n2001:db8::/32\n").unwrap();
    assert_eq!(policy.sets[0].prefixes.len(), 2);
    assert_eq!(policy.vpcs[0].vlans, [7]);
    assert_eq!(
        policy.hosts[0].allow[0].source,
        crate::policy::Source::Set(0)
    );
    assert_eq!(
        policy.hosts[0].allow[1].source,
        crate::policy::Source::Vpc(0)
    );
    assert_eq!(policy.hosts[0].allow[2].origin.line, 5);
    assert_eq!(
        policy.hosts[0].ports,
        crate::policy::Ports::Ranges(vec![(443, 443)])
    );
}

#[test]
fn a_user_has_no_more_tags_than_aws_lets_it_have() {
    let tags = |count: usize| {
        let tags: Vec<_> = (0..count).map(|tag| format!("t{tag} = \"v\"")).collect();
        let text = format!(
            "[[account]]\nid = \"111122223333\"\n[[user]]\nname = \"u\"\ntags = {{ {} }}\n",
            tags.join(", ")
        );
        read(&text, b"").map(|policy| policy.principals.users[0].tags.len())
    };
    assert_eq!(tags(50), Ok(50));
    let problem = tags(51).unwrap_err().to_string();
    assert_eq!(
        problem,
        "a.toml:6:8: error: more than 50 tags of one user or role"
    );
}

#[test]
fn set_files_are_held_to_their_bounds() {
    let with = |fields: &str, list: &str| {
        let text = format!("{HOST}[[set]]\nname = \"s\"\n{fields}\n");
        let problems = read(&text, list.as_bytes()).err()?;
        Some(problems.list[0].to_string())
    };
    let file = |fields: &str, list| with(&format!("file = \"s.txt\"\n{fields}"), list);
    let (two, three) = ("192.0.2.0-192.0.2.2\n", "192.0.2.0-192.0.2.2\n10.0.0.0/8\n");
    let bounds = "min_prefixes = 2\nmax_prefixes = 2";
    for (fields, list, words) in [
        (
            bounds,
            "192.0.2.0/24\n",
            "has 1 prefixes, and `min_prefixes` is 2",
        ),
        (bounds, three, "has 3 prefixes, and `max_prefixes` is 2"),
        (
            "follow = true",
            "# none\n",
            "has 0 prefixes, and `min_prefixes` is 1",
        ),
        (
            "follow = true",
            "10.0.0.0/8\n0.0.0.0/1\n",
            "s.txt:2:1: error: 0.0.0.0/1 is wider",
        ),
        ("follow = true", "2000::/15\n", "wider than a followed file"),
        (
            "follow = true",
            "0.0.0.0-255.255.255.254\n",
            "wider than a followed file",
        ),
        ("follow = \"yes\"", two, "`follow` takes `true` or `false`"),
        ("min_prefixes = -1", two, "`-1` is not a number of prefixes"),
        (
            "min_prefixes = 2\nmax_prefixes = 1",
            two,
            "`max_prefixes` is below",
        ),
    ] {
        let said = file(fields, list).unwrap_or_default();
        assert!(said.contains(words), "no `{words}` in `{said}`");
    }
    for (fields, list) in [
        (bounds, two),
        ("follow = true", three),
        ("follow = true\nmin_prefixes = 0", "# none\n"),
        ("", "# none\n"),
        ("", "0.0.0.0/0\n"),
    ] {
        assert_eq!(file(fields, list), None, "{fields}");
    }
    let inline = with("cidrs = [\"0.0.0.0/0\"]\nfollow = true", "");
    assert!(inline.unwrap().contains("`follow` without `file`"));
}

#[test]
fn followed_files_are_found_whatever_they_hold() {
    let file = SourceFile {
        name: "policy.d/a.toml".into(),
        bytes: (*b"version = 1\n[[set]]\nname = \"s\"\nfile = \"lists/s.txt\"\nfollow = true\n\
            [[set]]\nname = \"t\"\nfile = \"t.txt\"\n")
            .into(),
    };
    let found = followed(&[file]);
    let one = Followed {
        set: "s".into(),
        path: "policy.d/lists/s.txt".into(),
    };
    assert_eq!(found, [one]);
}

#[test]
fn what_is_wrong_is_refused_where_it_stands() {
    // Text after the first line, then line and column of the problem and a part of message and help.
    let cases = [
        (
            "[[account]]\nid = \"111122223333\"\n[[role]]\nname = \"a\"\nmax_session_duration = 43201\n",
            (6, 24),
            "1 to 12 hours",
        ),
        (
            "[[account]]\nid = \"111122223333\"\n[[user]]\nname = \"a\"\nmax_session_duration = 3600\n",
            (6, 1),
            "max_session_duration",
        ),
        (
            "[[account]]\nid = \"111122223333\"\n[[role]]\nname = \"a\"\n[[role]]\nname = \"A\"\npath = \"/b/\"\n",
            (7, 8),
            "defined twice",
        ),
        (
            "[[account]]\nid = \"111122223333\"\n[[user]]\nname = \"a\"\ntags = { Team = \"x\", team = \"y\" }\n",
            (6, 22),
            "compare without case",
        ),
        (
            "[[host]]\nname = \"a\"\naddresses = [\"10.1.2.3/8\"]\n",
            (4, 14),
            "10.0.0.0/8",
        ),
        (
            "[[host]]\nname = \"a\"\naddresses = [\"::ffff:192.0.2.1\"]\n",
            (4, 14),
            "192.0.2.1",
        ),
        (
            "[[host]]\nname = \"a\"\naddresses = [\"192.0.2.9-192.0.2.1\"]\n",
            (4, 14),
            "192.0.2.1-192.0.2.9",
        ),
        (
            "[[host]]\nname = \"a\"\naddresses = [\"10.0.0.0/255.0.0.0\"]\n",
            (4, 14),
            "/8",
        ),
        (
            "[[host]]\nname = \"a\"\naddresses = [\"fe80::1%eth0\"]\n",
            (4, 14),
            "fe80::1",
        ),
        (
            "[[host]]\nname = \"a b\"\naddresses = [\"192.0.2.1\"]\n",
            (3, 8),
            "a b",
        ),
        (
            "[[host]]\nname = \"a\"\naddresses = [\"192.0.2.1\"]\nalow = []\n",
            (5, 1),
            "allow",
        ),
        (
            "[[host]]\nname = \"a\"\naddresses = [\"192.0.2.1\"]\nports = [70000]\n",
            (5, 10),
            "65535",
        ),
        (
            "[[host]]\nname = \"a\"\naddresses = [\"192.0.2.1\"]\nallow = [\"set:x\"]\n",
            (5, 10),
            "set",
        ),
        (
            "[[host]]\nname = \"a\"\naddresses = [\"192.0.2.1\"]\nallow = [\"vpc:x\"]\n",
            (5, 10),
            "vpc",
        ),
        (
            "[[vpc]]\nid = \"v\"\ncidrs = [\"10.0.0.0/8\"]\nvlans = [4095]\n",
            (5, 10),
            "4094",
        ),
        (
            "[[set]]\nname = \"s\"\nfile = \"gone.txt\"\n",
            (4, 8),
            "gone.txt",
        ),
    ];
    for (text, (line, column), part) in cases {
        let problems = read(text, b"").expect_err(text);
        let problem = &problems.list[0];
        let words = format!("{problem} {}", problem.help().unwrap_or_default());
        assert_eq!(
            (problem.at.origin.line, problem.at.origin.column),
            (line, column),
            "{words}"
        );
        assert!(words.contains(part), "{words}");
    }
}

#[test]
fn what_is_wrong_with_an_expectation_is_refused_where_it_stands() {
    const USER: &str = "arn:aws:iam::111122223333:user/alice";
    let request = |rest: &str| {
        format!("from = \"192.0.2.1\"\nprincipal = \"{USER}\"\nrequest = \"deny\"\n{rest}\n")
    };
    let action = |rest: &str| {
        request(&format!(
            "action = \"swf:CountOpenWorkflowExecutions\"\n{rest}"
        ))
    };
    let cases = [
        ("packet = \"pass\"".to_owned(), 5, "`from`"),
        (
            "from = \"192.0.2.1\"".to_owned(),
            5,
            "`packet` and `request`",
        ),
        (
            "from = \"192.0.2.0/24\"\npacket = \"pass\"".to_owned(),
            6,
            "without a prefix length",
        ),
        (
            "from = \"::1\"\npacket = \"passes\"".to_owned(),
            7,
            "`pass`",
        ),
        (
            "from = \"::1\"\npacket = \"drop\"\nvpc = \"vpc-1\"".to_owned(),
            8,
            "vpc `vpc-1`",
        ),
        (
            "from = \"::1\"\npacket = \"drop\"\nhost = \"b\"".to_owned(),
            8,
            "did you mean `a`",
        ),
        (
            "from = \"::1\"\naction = \"swf:ListDomains\"\nrequest = \"allow\"".to_owned(),
            5,
            "`principal`",
        ),
        (
            "from = \"::1\"\naction = \"swf:ListDomains\"\nprincipal = \"alice\"\nrequest = \"allow\"".to_owned(),
            8,
            "user/NAME",
        ),
        (request(""), 5, "`action`"),
        (
            request("action = \"swf:StartTimers\"\nresource = \"d\""),
            9,
            "swf:StartTimer",
        ),
        (action(""), 5, "which domain"),
        (action("body = \"{}\""), 10, "`domain` is missing"),
        (
            action("body = \"{\\\"domain\\\": \\\"d\\\"}\"\nresource = \"d\""),
            10,
            "leave the resource out",
        ),
        (
            action("resource = \"d\"\ncontext = { \"aws:SourceIpp\" = \"x\" }"),
            11,
            "condition key",
        ),
        (
            action("resource = \"d\"\ncontext = { \"aws:username\" = 1 }"),
            11,
            "a text",
        ),
        (
            request(
                "action = \"swf:RespondDecisionTaskCompleted\"\nbody = \"{\\\"taskToken\\\": \\\"t\\\"}\"",
            ),
            10,
            "name the domain",
        ),
    ];
    for (text, line, part) in cases {
        let problems = read(&format!("{HOST}[[expect]]\n{text}\n"), b"").expect_err(&text);
        let problem = &problems.list[0];
        let words = format!("{problem} {}", problem.help().unwrap_or_default());
        assert!(words.contains(part), "{words}");
        assert_eq!(problem.at.origin.line, line, "{words}");
    }
}

#[test]
fn a_name_defined_twice_names_both_places() {
    let problems = read(&format!("{HOST}{}", HOST.replace("2.1", "2.2")), b"").unwrap_err();
    let problem = &problems.list[0];
    assert_eq!(problem.at.origin.line, 6);
    assert_eq!(problem.other.as_ref().unwrap().origin.line, 3);
}

#[test]
fn an_address_belongs_to_one_host() {
    let problems = read(&format!("{HOST}{}", HOST.replace("\"a\"", "\"b\"")), b"").unwrap_err();
    assert_eq!(problems.list[0].at.origin.line, 7);
    assert_eq!(problems.list[0].other.as_ref().unwrap().origin.line, 4);
}

#[test]
fn a_bad_line_of_a_set_file_is_named() {
    let text = "[[set]]\nname = \"s\"\nfile = \"s.txt\"\n";
    let problems = read(text, b"10.0.0.0/8\nnonsense\n\xff\xfe\n").unwrap_err();
    let places: Vec<_> = problems
        .list
        .iter()
        .map(|problem| problem.at.origin.to_string())
        .collect();
    assert_eq!(places, ["s.txt:2:1", "s.txt:3:1"]);
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_it_panic(policy: Vec<u8>, set: Vec<u8>) {
        let file = SourceFile { name: "a.toml".into(), bytes: policy.into() };
        let _any_answer = parse(&[file], &mut |_: &Path| Ok(set.as_slice().into()));
        let _any_answer = read("[[set]]\nname = \"s\"\nfile = \"s.txt\"\n", &set);
    }
}
