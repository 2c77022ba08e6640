use super::*;

fn run(text: &str) -> String {
    let file = SourceFile {
        name: "policy.d/a.toml".into(),
        bytes: text.as_bytes().into(),
    };
    let mut read = |path: &Path| -> io::Result<Arc<[u8]>> {
        assert_eq!(path, Path::new("policy.d/s.txt"));
        Ok(b"10.0.0.0/8\n  1.2.3.4/8 # x\r\n".as_slice().into())
    };
    match parse(&[file], &mut read) {
        Ok(policy) => format!("{policy:#?}"),
        Err(problems) => {
            let mut out = String::new();
            for p in &problems.list {
                out += &format!("{p}\n   {:?} help: {:?}\n", p.at.span, p.help());
            }
            out
        }
    }
}

#[test]
fn smoke() {
    println!(
        "{}",
        run(
            "version = 1\n[[host]]\nname = \"a b\"\naddresses = [\"10.0.0.1/8\", 3]\nports = [443, 0x1bb, 99999, \"5-3\", 8_000]\nalow = []\n[[set]]\nname=\"s\"\nfile=\"s.txt\"\n[[vpc]]\nid=\"v\"\nvlans=[0,5000]\n"
        )
    );
    println!(
        "{}",
        run(
            "version = 1\nhost = [{name = \"é\", addresses = [\"fe80::1%eth0\"]}]\n[vpc]\n[[set]]\nname='x'\n"
        )
    );
    println!(
        "{}",
        run("version = 1\n[[host]]\nname = \"a\naddresses = 3\n")
    );
    println!(
        "{}",
        run(
            "version = 1\n[[host]]\nname = \"a\"\naddresses = [\"10.0.0.0/30\"]\nports=[1,2,3,\"4-9\"]\nallow=[\"vpc:v\"]\n[[vpc]]\nid='v'\ncidrs=['::1']\n"
        )
    );
}
