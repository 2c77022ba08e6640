use std::io;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::policy::{Policy, SourceFile, parse};

const RANGES: &str = r#"{
  "syncToken": "1700000000",
  "createDate": "2023-11-14-22-13-20",
  "prefixes": [
    {"ip_prefix": "192.0.2.0/25", "region": "us-east-1", "service": "AMAZON", "network_border_group": "us-east-1"},
    {"ip_prefix": "192.0.2.128/25", "region": "us-east-1", "service": "EC2", "network_border_group": "us-east-1"},
    {"ip_prefix": "192.0.2.0/25", "region": "us-east-1", "service": "EC2", "network_border_group": "us-east-1"},
    {"ip_prefix": "198.51.100.0/24", "region": "eu-west-1", "service": "EC2", "network_border_group": "eu-west-1-zone"}
  ],
  "ipv6_prefixes": [
    {"ipv6_prefix": "2001:db8::/33", "region": "us-east-1", "service": "EC2", "network_border_group": "us-east-1"},
    {"ipv6_prefix": "2001:db8:8000::/33", "region": "us-east-1", "service": "EC2", "network_border_group": "us-east-1"}
  ]
}"#;

const VPCS: &str = r#"{"Vpcs": [
  {"VpcId": "vpc-0b", "CidrBlock": "10.1.0.0/16", "OwnerId": "111122223333", "IsDefault": false,
   "CidrBlockAssociationSet": [
     {"AssociationId": "a", "CidrBlock": "10.1.0.0/16", "CidrBlockState": {"State": "associated"}},
     {"AssociationId": "b", "CidrBlock": "10.9.0.0/16", "CidrBlockState": {"State": "disassociated"}}],
   "Ipv6CidrBlockAssociationSet": [
     {"AssociationId": "c", "Ipv6CidrBlock": "2001:db8:7::/56", "Ipv6CidrBlockState": {"State": "associated"}}],
   "Tags": [{"Key": "Name", "Value": "pay\n[[host]]"}]},
  {"VpcId": "vpc-0a", "CidrBlock": "10.0.0.0/16"}
]}"#;

const ENDPOINTS: &str = r#"{"VpcEndpoints": [
  {"VpcEndpointId": "vpce-02", "VpcId": "vpc-0b", "ServiceName": "com.amazonaws.us-east-1.swf", "State": "available"},
  {"VpcEndpointId": "vpce-01", "VpcId": "vpc-0b", "ServiceName": "com.amazonaws.us-east-1.swf", "State": "Available"},
  {"VpcEndpointId": "vpce-03", "VpcId": "vpc-0b", "ServiceName": "com.amazonaws.us-east-1.swf", "State": "deleted"},
  {"VpcEndpointId": "vpce-04", "VpcId": "vpc-0c", "ServiceName": "com.amazonaws.us-east-1.swf", "State": "available"}
]}"#;

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn shown(prefixes: &PrefixList) -> Vec<String> {
    let v4 = prefixes.v4.iter().map(ToString::to_string);
    v4.chain(prefixes.v6.iter().map(ToString::to_string))
        .collect()
}

fn services(names: &[&str]) -> Result<Imported, Fault> {
    let services = owned(names);
    ip_ranges(
        RANGES.as_bytes(),
        Wanted {
            services: &services,
            ..Wanted::default()
        },
    )
}

fn said(result: Result<Imported, Fault>) -> String {
    result.unwrap_err().to_string()
}

/// The policy that the parser makes of a policy file, and of the set file that it names.
fn policy(text: &str, list: &str) -> Policy {
    let file = SourceFile {
        name: "policy.d/import.toml".into(),
        bytes: text.as_bytes().into(),
    };
    let mut read = |path: &Path| -> io::Result<_> {
        let is_list = path == Path::new("policy.d/list.txt");
        let found = is_list.then(|| list.as_bytes().into());
        found.ok_or_else(|| io::ErrorKind::NotFound.into())
    };
    parse(&[file], &mut read).unwrap_or_else(|problems| panic!("{problems:?}\n{text}"))
}

#[test]
fn ranges_are_chosen_and_aggregated() {
    let imported = services(&["ec2"]).unwrap();
    let fewest = ["192.0.2.0/24", "198.51.100.0/24", "2001:db8::/32"];
    assert_eq!(shown(&imported.prefixes), fewest);
    assert_eq!(imported.read, 5);
    assert_eq!(imported.about[0], "syncToken 1700000000");

    let (regions, groups) = (owned(&["us-east-1"]), owned(&["eu-west-1-zone"]));
    let of = |wanted| ip_ranges(RANGES.as_bytes(), wanted);
    let group = of(Wanted {
        groups: &groups,
        ..Wanted::default()
    });
    assert_eq!(shown(&group.unwrap().prefixes), ["198.51.100.0/24"]);
    // Each is there, and no range has both.
    let neither = of(Wanted {
        groups: &groups,
        regions: &regions,
        ..Wanted::default()
    });
    assert!(matches!(neither, Err(Fault::Nothing { .. })));
}

#[test]
fn names_that_are_not_there_are_told_with_the_nearest() {
    assert_eq!(
        said(services(&["amazom"])),
        "there is no service `amazom`; did you mean `AMAZON`?"
    );
    assert_eq!(said(services(&["SWF"])), "there is no service `SWF`");
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let broken = RANGES.replace("192.0.2.128/25", "192.0.2.129/25");
    let at = said(ip_ranges(broken.as_bytes(), Wanted::default()));
    assert!(
        at.starts_with("prefixes[1].ip_prefix: `192.0.2.129/25` has host bits set; write"),
        "{at}"
    );
    let cut = said(ip_ranges(&RANGES.as_bytes()[..40], Wanted::default()));
    assert!(cut.starts_with("line 3, column "), "{cut}");
    let other = said(ip_ranges(b"{\"Vpcs\": []}", Wanted::default()));
    let words = "line 1, column 12: missing field `syncToken`; this takes JSON as AWS ";
    assert!(other.starts_with(words), "{other}");
    let line = said(plain(b"192.0.2.1\n  192.0.2.300 # no\n", Lines::Plain));
    assert!(
        line.starts_with("line 2, column 3: `192.0.2.300` is not an address"),
        "{line}"
    );
    assert_eq!(
        said(plain(b"\xff", Lines::Plain)),
        "line 1: this is not UTF-8 text"
    );
}

#[test]
fn a_page_of_several_and_an_empty_list_are_refused() {
    let page = br#"{"Entries": [{"Cidr": "192.0.2.0/24"}], "NextToken": "more"}"#;
    assert_eq!(prefix_list(page, None, None), Err(Fault::Part));
    let whole = br#"{"Entries": [{"Cidr": "192.0.2.0/24"}], "NextToken": null}"#;
    assert!(prefix_list(whole, None, None).is_ok());
    let empty = prefix_list(b"{\"Entries\": []}", None, None);
    assert!(matches!(empty, Err(Fault::Nothing { .. })));
    assert!(plain(b"# nothing\n\n", Lines::Plain).is_err());
}

#[test]
fn a_prefix_list_has_the_name_that_is_described() {
    let entries = br#"{"Entries": [{"Cidr": "192.0.2.0/24", "Description": "office"}]}"#;
    let lists = br#"{"PrefixLists": [
        {"PrefixListId": "pl-0a", "PrefixListName": "offices", "Version": 7, "AddressFamily": "IPv4"},
        {"PrefixListId": "pl-0b", "PrefixListName": "others"}]}"#;
    let imported = prefix_list(entries, Some(lists), Some("pl-0a")).unwrap();
    assert_eq!(imported.name.as_deref(), Some("offices"));
    assert_eq!(imported.about, ["pl-0a, version 7"]);
    let which = said(prefix_list(entries, Some(lists), None));
    assert!(which.contains("--id"), "{which}");
    assert!(prefix_list(entries, Some(lists), Some("pl-0c")).is_err());
}

#[test]
fn lists_are_read_with_and_without_commas() {
    let list = |text: &str, lines| plain(text.as_bytes(), lines).map(|list| shown(&list.prefixes));
    let text = "\u{feff}192.0.2.0-192.0.2.3 # four\r\n\n2001:db8::1\n";
    assert_eq!(
        list(text, Lines::Plain).unwrap(),
        ["192.0.2.0/30", "2001:db8::1/128"]
    );
    let csv = "prefix,who\n\"192.0.2.0/24\",a\n198.51.100.0/24,b\n";
    assert!(list(csv, Lines::Csv).is_err());
    let both = ["192.0.2.0/24", "198.51.100.0/24"];
    assert_eq!(list(csv, Lines::CsvWithHeading).unwrap(), both);
    assert!(list("192.0.2.0/24,a\n", Lines::Plain).is_err());
}

#[test]
fn vpcs_have_their_ranges_endpoints_and_ties() {
    let vpcs = vpcs(VPCS.as_bytes(), Some(ENDPOINTS.as_bytes()), &[]).unwrap();
    let ties = [
        ("vpc-0b".to_owned(), Tie::Interface("eth1".to_owned())),
        ("vpc-0b".to_owned(), Tie::Vlan(120)),
    ];
    let file = VpcFile {
        vpcs: &vpcs,
        ties: &ties,
    };
    let input = Input {
        name: "vpcs.json",
        bytes: VPCS.as_bytes(),
    };
    let text = file.policy(&[input], &[]);
    assert!(text.starts_with(MARK));
    let policy = policy(&text, "");
    assert!(policy.hosts.is_empty(), "a name must not become a block");
    let [a, b] = &policy.vpcs[..] else {
        panic!("{text}");
    };
    assert_eq!(
        (&*a.id, shown(&a.cidrs)),
        ("vpc-0a", owned(&["10.0.0.0/16"]))
    );
    assert_eq!(shown(&b.cidrs), ["10.1.0.0/16", "2001:db8:7::/56"]);
    assert_eq!(b.endpoints, ["vpce-01".into(), "vpce-02".into()]);
    assert_eq!((&*b.interfaces[0], &b.vlans[..]), ("eth1", &[120][..]));
}

#[test]
fn only_vpcs_that_are_there_can_be_chosen() {
    let chosen = |ids: &[&str]| vpcs(VPCS.as_bytes(), None, &owned(ids));
    let one: Vec<_> = chosen(&["vpc-0a"]).unwrap();
    assert_eq!((one.len(), &*one[0].id), (1, "vpc-0a"));
    assert!(matches!(chosen(&["vpc-0z"]), Err(Fault::Unknown { .. })));
    let twice = VPCS.replace("vpc-0a", "vpc-0b");
    assert!(matches!(
        vpcs(twice.as_bytes(), None, &[]),
        Err(Fault::Twice { .. })
    ));
    let odd = VPCS.replace("vpc-0a", "vpc\\\"0a");
    assert!(matches!(
        vpcs(odd.as_bytes(), None, &[]),
        Err(Fault::Name { .. })
    ));
}

#[test]
fn what_is_written_is_what_the_parser_reads() {
    let imported = services(&[]).unwrap();
    let set = Set {
        name: "aws",
        file: "list.txt",
        follow: None,
    };
    let input = Input {
        name: "evil\nname",
        bytes: RANGES.as_bytes(),
    };
    let list = || set.list(&imported, &[input], &owned(&["only\n0.0.0.0/0"]));
    assert_eq!(list(), list());
    let read = policy(&set.policy(), &list());
    assert_eq!(read.sets[0].prefixes, imported.prefixes);
}

proptest! {
    #[test]
    fn no_input_makes_it_panic(bytes: Vec<u8>, text: String) {
        for input in [&bytes[..], text.as_bytes()] {
            let _any = ip_ranges(input, Wanted::default());
            let _any = prefix_list(input, Some(input), None);
            let _any = vpcs(input, Some(input), &[]);
            let _any = (plain(input, Lines::Plain), plain(input, Lines::CsvWithHeading));
        }
    }

    #[test]
    fn a_list_keeps_exactly_its_addresses(addresses in proptest::collection::vec(0u32..64, 1..60)) {
        let lines: Vec<_> = addresses.iter().map(|low| format!("192.0.2.{low}\n")).collect();
        let text = lines.concat();
        let imported = plain(text.as_bytes(), Lines::Plain).unwrap();
        for low in 0..64 {
            let is_in = imported.prefixes.v4.iter().any(|prefix| prefix.contains(0xc000_0200 + low));
            prop_assert_eq!(is_in, addresses.contains(&low));
        }
    }
}
