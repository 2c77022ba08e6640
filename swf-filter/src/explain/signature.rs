//! A request out of a file, and how far the verification of its signature gets.

use anyhow::{Context as _, Result, bail};
use jiff::Timestamp;
use serde::Serialize;
use swf_filter_core::sigv4::{BodyHash, Claim, Fault, Form, Head, QueryForm, Rules, Secret};

/// What is known besides the request.
#[derive(Debug)]
pub(crate) struct Setting<'a> {
    /// The time at which it arrives.
    pub(crate) at: Timestamp,
    /// The region that it has to be signed for.
    pub(crate) region: &'a str,
    /// The service that it has to be signed for.
    pub(crate) service: &'a str,
    /// The secret of its access key, if the signature is to be tried.
    pub(crate) secret: Option<Secret>,
}

/// What becomes of a request's signature.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct SignatureExplanation {
    /// What verification comes to.
    pub(crate) verdict: SignatureVerdict,
    /// Why it is refused, for the operator.
    pub(crate) words: Option<String>,
    /// The error's name that the client gets.
    pub(crate) code: Option<&'static str>,
    /// The message that the client gets.
    pub(crate) message: Option<String>,
    /// `header` or `query`, if there is a signature.
    pub(crate) form: Option<&'static str>,
    /// Who is said to have signed.
    pub(crate) access_key_id: Option<String>,
    /// The day, region, service and end of the scope.
    pub(crate) scope: Option<String>,
    /// What the request comes to, whatever the way it is written.
    pub(crate) canonical_request: Option<String>,
    /// What is signed.
    pub(crate) string_to_sign: Option<String>,
}

/// What verification comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SignatureVerdict {
    /// It is refused.
    #[default]
    Refused,
    /// Nothing is wrong but perhaps the signature itself: no secret was given to try it with.
    Untried,
    /// The signature is right.
    Verified,
}

/// Says what becomes of the signature of a request, given as it goes over the wire.
pub(crate) fn explain(raw: &[u8], setting: Setting<'_>) -> Result<SignatureExplanation> {
    let raw = Raw::read(raw)?;
    let body = BodyHash::of(raw.body);
    let rules = Rules {
        query: QueryForm::Accept,
        ..Rules::of(setting.region, setting.service)
    };
    let mut explanation = SignatureExplanation::default();
    let verdict = follow(&raw.head, &rules, body, setting, &mut explanation);
    match verdict {
        Ok(verdict) => explanation.verdict = verdict,
        Err(fault) => {
            let answer = fault.answer();
            explanation.words = Some(fault.to_string());
            explanation.code = Some(answer.code);
            explanation.message = Some(answer.message);
        }
    }
    Ok(explanation)
}

fn follow(
    head: &Head<'_>,
    rules: &Rules,
    body: BodyHash,
    setting: Setting<'_>,
    explanation: &mut SignatureExplanation,
) -> Result<SignatureVerdict, Fault> {
    let claim = Claim::read(head, rules.query)?;
    let canonical = claim.canonical_request(rules, body);
    explanation.canonical_request = Some(String::from_utf8_lossy(&canonical).into_owned());
    explanation.string_to_sign = Some(claim.string_to_sign(rules, body));
    explanation.form = Some(match claim.form() {
        Form::Header => "header",
        Form::Query => "query",
    });
    let checked = claim.check(rules, setting.at)?;
    explanation.access_key_id = Some(checked.access_key_id().to_owned());
    explanation.scope = Some(checked.scope().to_owned());
    checked.check_body(body)?;
    let Some(secret) = setting.secret else {
        return Ok(SignatureVerdict::Untried);
    };
    checked.verify(&checked.derive(&secret), body)?;
    Ok(SignatureVerdict::Verified)
}

/// A request, taken apart as leniently as can be: what is wrong with it is not the question here.
struct Raw<'a> {
    head: Head<'a>,
    body: &'a [u8],
}

impl<'a> Raw<'a> {
    fn read(raw: &'a [u8]) -> Result<Self> {
        let (line, mut rest) = next_line(raw);
        let line = std::str::from_utf8(line).context("line 1 is not UTF-8")?;
        let (method, target) = line
            .split_once(' ')
            .context("line 1 is no request line, such as `POST / HTTP/1.1`")?;
        let target = target
            .rsplit_once(" HTTP/")
            .map_or(target, |(target, _)| target);
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut headers: Vec<(&str, &[u8])> = Vec::new();
        let mut number = 1;
        while !rest.is_empty() {
            let start = rest;
            let (mut field, after) = next_line(rest);
            (rest, number) = (after, number + 1);
            if field.is_empty() {
                break;
            }
            // A field may go on in lines that start with white space.
            while rest
                .first()
                .is_some_and(|byte| matches!(byte, b' ' | b'\t'))
            {
                let (_, after) = next_line(rest);
                (rest, number) = (after, number + 1);
                let whole = start.get(..start.len() - rest.len()).unwrap_or(start);
                field = whole.trim_ascii_end();
            }
            let mut parts = field.splitn(2, |byte| *byte == b':');
            let (Some(name), Some(value)) = (parts.next(), parts.next()) else {
                bail!("line {number} is no header field, such as `name: value`");
            };
            let name = std::str::from_utf8(name)
                .with_context(|| format!("the name in line {number} is not UTF-8"))?;
            headers.push((name.trim(), value.trim_ascii()));
        }
        Ok(Self {
            head: Head {
                method,
                path,
                query,
                headers,
            },
            body: rest,
        })
    }
}

/// The first line without its end, and what follows it.
fn next_line(text: &[u8]) -> (&[u8], &[u8]) {
    let mut parts = text.splitn(2, |byte| *byte == b'\n');
    let line = parts.next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    (line, parts.next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One of the examples that AWS published, with its own signature.
    const RAW: &[u8] = b"GET / HTTP/1.1\r\nHost:example.amazonaws.com\r\nX-Amz-Date:20150830T123600Z\r\n\
        Authorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
        SignedHeaders=host;x-amz-date, \
        Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31\r\n\r\n";

    fn explained(raw: &[u8], secret: Option<&str>) -> SignatureExplanation {
        let setting = Setting {
            at: "2015-08-30T12:36:00Z".parse().expect("a time"),
            region: "us-east-1",
            service: "service",
            secret: secret.map(|secret| Secret::new(secret.to_owned())),
        };
        explain(raw, setting).expect("a request")
    }

    #[test]
    fn verification_is_followed_as_far_as_it_gets() {
        let right = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
        let verified = explained(RAW, Some(right));
        assert_eq!(verified.verdict, SignatureVerdict::Verified);
        assert_eq!(verified.access_key_id.as_deref(), Some("AKIDEXAMPLE"));
        assert_eq!(
            verified.canonical_request.as_deref(),
            Some(
                "GET\n/\n\nhost:example.amazonaws.com\nx-amz-date:20150830T123600Z\n\nhost;x-amz-date\n\
                 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
            )
        );
        assert_eq!(explained(RAW, None).verdict, SignatureVerdict::Untried);
        let unsigned = str::from_utf8(RAW)
            .expect("a text")
            .replace("Host", "x-amz-content-sha256: UNSIGNED-PAYLOAD\r\nHost");
        let unsigned = explained(unsigned.as_bytes(), None);
        assert_eq!(unsigned.verdict, SignatureVerdict::Refused);
        let wrong = explained(RAW, Some("wrong"));
        assert_eq!(wrong.verdict, SignatureVerdict::Refused);
        assert_eq!(wrong.code, Some("InvalidSignatureException"));
        assert_eq!(wrong.string_to_sign, verified.string_to_sign);
    }

    #[test]
    fn lines_may_end_and_go_on_in_any_way() {
        let raw = Raw::read(b"POST /a b?c=d HTTP/1.1\nHost:x\nMy: one\n  two\n\tthree\n\nbody\n")
            .expect("a request");
        let Head {
            path,
            query,
            headers,
            ..
        } = raw.head;
        assert_eq!((path, query, raw.body), ("/a b", "c=d", &b"body\n"[..]));
        assert_eq!(
            headers,
            [("Host", &b"x"[..]), ("My", b"one\n  two\n\tthree")]
        );
        for (wrong, line) in [
            ("GET", "line 1"),
            ("GET / HTTP/1.1\nHost: x\noops\n", "line 3"),
        ] {
            let error = Raw::read(wrong.as_bytes()).err().expect("wrong");
            assert!(error.to_string().contains(line), "{error}");
        }
    }
}
