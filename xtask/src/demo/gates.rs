//! The second half of the demo: calls of SWF through the three gates, and one that is refused at each.

use std::fs;

use anyhow::Result;

use super::screen::say;
use super::stage::{Background, Client, HOST, LAB, ORDERS, Stage};
use super::upstream::Upstream;
use super::{TIMED_OUT, until, until_attached};

/// Everything that runs while calls are made.
struct Running {
    _daemon: Background,
    _upstream: Background,
    _listener: Background,
}

/// Puts the listener where the endpoint was, and calls through it.
pub(super) fn play(stage: &Stage, upstream: &Upstream) -> Result<()> {
    let id = write_documents(stage)?;
    let _running = listen(stage, upstream)?;
    pass(stage)?;
    stop_at_the_packet(stage)?;
    stop_at_the_handshake(stage)?;
    stop_at_the_signature(stage, &id)?;
    stop_at_the_documents(stage)?;
    sum_up(stage)
}

/// The policy, now with documents, and an access key, of which it gives the id.
fn write_documents(stage: &Stage) -> Result<String> {
    stage.screen.scene(
        "8. One policy for three gates: IAM documents say who may call what, and from where",
    );
    stage.show(HOST, "cp -R gates/. .")?.code(0)?;
    for file in [
        "policy.d/20-hosts.toml",
        "policy.d/swf.json",
        "principals.d/principals.toml",
        "principals.d/alice.json",
    ] {
        stage.show(HOST, &format!("cat {file}"))?.code(0)?;
    }
    stage.show(HOST, "swf-filter check")?.code(0)?.says("ok")?;
    stage.show(HOST, "swf-filter keys rotate")?.code(0)?;
    let key = stage.show(HOST, "swf-filter keys create alice")?.code(0)?;
    let id = key.after("access key id")?;
    let secret = key.after("secret access key")?;
    let folder = stage.folder();
    fs::write(
        folder.join("alice.curl"),
        format!("user = \"{id}:{secret}\"\n"),
    )?;
    fs::write(folder.join("secret"), secret)?;
    Ok(id.to_owned())
}

/// Daemon, upstream and listener.
fn listen(stage: &Stage, upstream: &Upstream) -> Result<Running> {
    stage
        .screen
        .scene("9. The listener takes the endpoint's place: it asks the policy for each request");
    stage
        .quietly(
            HOST,
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=swf \
             -addext subjectAltName=DNS:swf.demo -keyout key.pem -out cert.pem",
        )?
        .code(0)?;
    let daemon = stage.start(HOST, "swf-filter daemon")?;
    until_attached(&daemon)?;
    let upstream = stage.start(HOST, &upstream.line())?;
    until("the upstream answers", || {
        let answer = stage.quietly(HOST, "curl -s -o answer -d {} http://127.0.0.1:5000/")?;
        Ok(answer.code(0).is_ok())
    })?;
    stage
        .show(HOST, "cat listener.toml")?
        .code(0)?
        .says("identity")?;
    stage.show(HOST, "swf-filter listener --check")?.code(0)?;
    let listener = stage.start(HOST, "swf-filter listener")?;
    until("the listener has the daemon's policy", || {
        Ok(listener.text().contains("new policy in force"))
    })?;
    Ok(Running {
        _daemon: daemon,
        _upstream: upstream,
        _listener: listener,
    })
}

/// A call that all gates let through.
fn pass(stage: &Stage) -> Result<()> {
    stage
        .screen
        .scene("10. A signed call from vpc-orders passes all three gates");
    stage.show(ORDERS.name, "cat call.curl")?.code(0)?;
    stage
        .show(ORDERS.name, &call(ORDERS, ALICE, LIST))?
        .code(0)?
        .says("domainInfos")?
        .says(" 200")?;
    audited(stage, "allowed", "swf:ListDomains")?;
    Ok(())
}

/// The packet gate.
fn stop_at_the_packet(stage: &Stage) -> Result<()> {
    stage.screen.scene(
        "11. Stopped at the packet: the same call from vpc-lab, from where no document could allow anything",
    );
    stage
        .show(LAB.name, &call(LAB, ALICE, LIST))?
        .code(TIMED_OUT)?;
    stage
        .show(
            HOST,
            &format!(
                "swf-filter explain --live --from {} --to {}:443 --interface {}",
                LAB.address, LAB.service, LAB.interface
            ),
        )?
        .code(0)?
        .says("drop")?;
    stage
        .screen
        .ok("its packets are dropped, so that the listener never hears of it");
    Ok(())
}

/// The handshake.
fn stop_at_the_handshake(stage: &Stage) -> Result<()> {
    stage
        .screen
        .scene("12. Stopped at the handshake: an old version of TLS, and a name that no certificate covers");
    let call = call(ORDERS, ALICE, LIST);
    // Debian's OpenSSL offers old versions only when told twice.
    let old = "--tlsv1.0 --tls-max 1.1 --ciphers DEFAULT@SECLEVEL=0";
    stage
        .show(ORDERS.name, &format!("{call} {old}"))?
        .code(HANDSHAKE_FAILED)?
        .says("protocol version")?;
    stage
        .show(ORDERS.name, &call.replace(NAME, "other.demo"))?
        .code(HANDSHAKE_FAILED)?
        .says("unrecognized name")?;
    stage
        .show(HOST, "swf-filter status | grep handshakes")?
        .code(0)?
        .says("1 too-old")?
        .says("1 no-certificate-for-name")?;
    stage
        .screen
        .ok("each reason has its count, and the client is told by TLS's own alert");
    Ok(())
}

/// The request, and who signed it.
fn stop_at_the_signature(stage: &Stage, id: &str) -> Result<()> {
    stage
        .screen
        .scene("13. Stopped at the request: a signature with another secret");
    let call = call(ORDERS, &format!("--user {id}:of-somebody-else"), LIST);
    stage
        .show(ORDERS.name, &format!("{call} --verbose --stderr call.log"))?
        .code(0)?
        .says("InvalidSignatureException")?
        .says(" 400")?;
    audited(stage, "refused", "swf:ListDomains")?;

    say(
        "What was sent is in curl's own log; from it, `explain` tells where the verification stops.",
    );
    let (_, body) = LIST;
    let keep = format!("{{ sed -n 's/^> //p' call.log; printf '%s' '{body}'; }} >request.http");
    stage.quietly(ORDERS.name, &keep)?.code(0)?;
    stage
        .show(
            HOST,
            "swf-filter explain request --file request.http --secret-file secret",
        )?
        .code(0)?
        .says("refused")?;
    Ok(())
}

/// The request, and what documents say of it.
fn stop_at_the_documents(stage: &Stage) -> Result<()> {
    stage
        .screen
        .scene("14. Stopped at the request: signed by alice, who may do anything but that");
    stage
        .show(ORDERS.name, &call(ORDERS, ALICE, DEPRECATE))?
        .code(0)?
        .says("AccessDeniedException")?
        .says(" 400")?;
    audited(stage, "denied", "swf:DeprecateDomain")?;
    stage
        .show(
            HOST,
            &format!(
                "swf-filter explain --from {} --to {}:443 --interface {} \
                 --principal arn:aws:iam::111122223333:user/alice --action swf:DeprecateDomain --resource payments",
                ORDERS.address, ORDERS.service, ORDERS.interface
            ),
        )?
        .code(0)?
        .says("KeepDomains")?;
    stage.screen.ok("`explain` names the statement that denies");
    Ok(())
}

/// What both gates counted.
fn sum_up(stage: &Stage) -> Result<()> {
    stage
        .screen
        .scene("15. What came of it all, in both processes");
    stage
        .show(HOST, "swf-filter status")?
        .code(0)?
        .says("1 allowed, 1 denied, 0 failed, 1 refused")?;
    Ok(())
}

/// A signed call.
fn call(client: Client, signer: &str, (operation, body): Call) -> String {
    format!(
        "curl --config call.curl {signer} --resolve {NAME}:443:{} https://{NAME}/ \
         --header 'x-amz-target: SimpleWorkflowService.{operation}' --data '{body}'",
        client.service
    )
}

/// Waits until the audit log tells of a call, and shows what.
fn audited(stage: &Stage, verdict: &str, action: &str) -> Result<()> {
    let line = format!("swf-filter audit --verdict {verdict} --action {action}");
    until("the audit log has the call", || {
        Ok(stage.quietly(HOST, &line)?.says(action).is_ok())
    })?;
    stage.show(HOST, &line)?.code(0)?;
    stage.screen.ok("the audit log has it");
    Ok(())
}

/// What is called, and with which body.
type Call = (&'static str, &'static str);

const LIST: Call = ("ListDomains", r#"{"registrationStatus": "REGISTERED"}"#);
const DEPRECATE: Call = ("DeprecateDomain", r#"{"name": "payments"}"#);
/// The name in the certificate.
const NAME: &str = "swf.demo";
/// The key that was made.
const ALICE: &str = "--config alice.curl";
/// curl's exit code when TLS cannot be agreed on (curl(1)).
const HANDSHAKE_FAILED: i32 = 35;
