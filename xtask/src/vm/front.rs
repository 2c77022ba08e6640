//! The listener's part of the whole Debian: a client, an upstream, and what is seen of requests from outside.

use anyhow::Result;

use super::system::Boots;

impl Boots {
    /// Enables the listener, as the operations guide says it.
    pub(super) fn enable_the_listener(&mut self) -> Result<()> {
        self.run("systemctl enable --now swf-filter-listener.service upstream.socket")?;
        self.run("swf-filter --output json keys create alice >/etc/alice.json")?;
        self.requests_are_judged()
    }

    /// Takes the listener away, so that the port answers with resets again: in a trial our own resets are dropped too, and what is half
    /// open would be answered for a minute.
    pub(super) fn disable_the_listener(&mut self) -> Result<()> {
        self.run("systemctl disable --now swf-filter-listener.service swf-filter-listener.socket")
            .map(drop)
    }

    /// A request of alice goes through, one of nobody does not, and audit log and journal come to know of both.
    pub(super) fn requests_are_judged(&mut self) -> Result<()> {
        self.says("systemctl is-active swf-filter-listener.service", "active")?;
        // Keys are read again a moment after they are made.
        self.says(&until("sh /etc/ask alice | grep 200"), "200")?;
        self.leaves_traces("user/alice")?;
        self.says("sh /etc/ask nobody", "400")?;
        self.leaves_traces("refused")?;
        for (port, metric) in [
            (9464, "swf_filter_generation_number"),
            (9465, "swf_filter_listener_requests_total"),
        ] {
            let look = format!("curl -s http://127.0.0.1:{port}/metrics | grep -m1 -o '^{metric}'");
            self.says(&look, metric)?;
        }
        self.says(
            "journalctl -q -b -o cat -t swf-filter SWF_INTERFACE=eth0 | grep -m1 attached",
            "attached",
        )
    }

    /// The request that was answered last is in audit log and journal, each with a word that tells what became of it.
    fn leaves_traces(&mut self, word: &str) -> Result<()> {
        for search in [
            "swf-filter --output json audit --request-id $(cat /etc/id)",
            "journalctl -q -o json SWF_REQUEST_ID=$(cat /etc/id)",
        ] {
            // They are written a moment after the answer.
            self.says(&until(&format!("{search} | grep -m1 -o {word}")), word)?;
        }
        Ok(())
    }
}

/// A command that is run until it succeeds, a minute or so.
fn until(command: &str) -> String {
    format!("for i in $(seq 60); do {command} && break; sleep 1; done")
}

/// Files of the machine: the listener's settings, who may sign, an upstream that says yes to all, and a client.
pub(super) const FILES: [(&str, &str); 8] = [
    (
        "etc/swf-filter/listener.toml",
        "version = 1\n\
         [[listener]]\nname = \"test\"\nlisten = [\"systemd:https\"]\nhost = \"test\"\nupstream = \"test\"\n\
         certificates = [{ chain = \"/etc/swf-filter/tls/test.pem\", key = \"/etc/swf-filter/tls/test.key\" }]\n\
         [[upstream]]\nname = \"test\"\naddresses = [\"http://127.0.0.1:5000\"]\nidentity = \"headers\"\n\
         [observe]\nlisten = \"127.0.0.1:9465\"\n",
    ),
    (
        "etc/swf-filter/principals.d/people.toml",
        "version = 1\n[[account]]\nid = \"111122223333\"\n[[user]]\nname = \"alice\"\npolicies = [\"alice.json\"]\n",
    ),
    (
        "etc/swf-filter/principals.d/alice.json",
        r#"{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "swf:*", "Resource": "*"}}"#,
    ),
    (
        "etc/systemd/system/swf-filter.service.d/observe.conf",
        "[Service]\nRestrictAddressFamilies=AF_INET AF_INET6\nIPAddressAllow=localhost\n",
    ),
    (
        "etc/systemd/system/upstream.socket",
        "[Socket]\nListenStream=127.0.0.1:5000\nAccept=yes\n[Install]\nWantedBy=sockets.target\n",
    ),
    (
        "etc/systemd/system/upstream@.service",
        "[Service]\nStandardInput=socket\nExecStart=/bin/sh /etc/upstream\n",
    ),
    (
        "etc/upstream",
        r"# Reads a request whole, and says yes.
while read -r line; do
    line=${line%?}
    case $line in
    '') break ;;
    [Cc]ontent-[Ll]ength:*) length=${line#*: } ;;
    esac
done
head -c $length >/dev/null
printf 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}'
",
    ),
    (
        "etc/ask",
        r#"# Lists domains over the listener, as somebody with a key or as nobody, and prints the status. Keeps the request's id.
field() { sed 's/.*"'"$1"'":"\([^"]*\)".*/\1/' /etc/alice.json; }
case $1 in
alice) set -- --aws-sigv4 aws:amz:us-east-1:swf --user "$(field access_key_id):$(field secret_access_key)" ;;
nobody) set -- ;;
esac
curl --silent --output /dev/null --dump-header /etc/head --write-out '%{http_code}\n' --max-time 60 --cacert /etc/swf-filter/tls/test.pem "$@" \
    -H 'Content-Type: application/x-amz-json-1.0' -H 'X-Amz-Target: SimpleWorkflowService.ListDomains' \
    -d '{"registrationStatus":"REGISTERED"}' https://198.51.100.10/
sed -n 's/^x-amzn-requestid: \([^ \r]*\).*/\1/ip' /etc/head >/etc/id
"#,
    ),
];

/// Run in the machine's file system before its first boot.
pub(super) const SET_UP: &str = "
cd /etc/swf-filter
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=swf.test \\
    -addext subjectAltName=IP:198.51.100.10 -keyout tls/test.key -out tls/test.pem 2>/dev/null
chown swf-listener tls/test.key
printf '[observe]\\nlisten = \"127.0.0.1:9464\"\\n' >>config.toml
swf-filter keys rotate
swf-filter check
swf-filter listener --check
";
