//! What a request says of its signature, and whether that can be.

use std::array;
use std::borrow::Cow;

use jiff::Timestamp;

use super::canonical::{BodyHash, Head, names_in, text};
use super::fault::{Fault, Part};
use super::key::{Secret, SigningKey};
use super::time::{basic, of_date_field, written};
use super::{QueryForm, Rules};

/// Where a signature stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// In the `Authorization` header field.
    Header,
    /// In the query.
    Query,
}

/// What a request says of its signature. Nothing of it is sure.
#[derive(Clone, Debug)]
pub struct Claim<'a> {
    head: &'a Head<'a>,
    form: Form,
    algorithm: Cow<'a, str>,
    credential: Cow<'a, str>,
    signed: Cow<'a, str>,
    signature: Cow<'a, str>,
    time: Timestamp,
    /// The time, as it was sent.
    sent: Cow<'a, str>,
    /// The same as it is signed, in the basic form.
    written: Cow<'a, str>,
    token: Option<Cow<'a, str>>,
}

/// A claim that would hold if the signature does.
#[derive(Clone, Debug)]
pub struct Checked<'a> {
    claim: Claim<'a>,
    rules: &'a Rules,
}

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const TERMINATOR: &str = "aws4_request";

/// Seven days: the most that signers may write. It does not make a signature hold longer.
const MOST_EXPIRES: u32 = 604_800;

impl<'a> Claim<'a> {
    /// Takes apart what a request says of its signature.
    pub fn read(head: &'a Head<'a>, query: QueryForm) -> Result<Self, Fault> {
        let header = single(head, "authorization")?;
        let parameters: Vec<(Vec<u8>, Vec<u8>)> = head.parameters().collect();
        let has_algorithm = parameters
            .iter()
            .any(|(name, _)| name == b"X-Amz-Algorithm");
        match (header, has_algorithm, query) {
            (Some(_), true, _) => Err(Fault::BothForms),
            (Some(header), false, _) => Self::in_header(head, header),
            (None, true, QueryForm::Accept) => Self::in_query(head, &parameters),
            (None, _, _) => Err(Fault::Missing),
        }
    }

    fn in_header(head: &'a Head<'a>, header: &'a [u8]) -> Result<Self, Fault> {
        let (algorithm, parts) = split_once(header, b' ').unwrap_or((header, b""));
        let mut found: [Option<&[u8]>; 3] = [None; 3];
        let names = ["Credential", "SignedHeaders", "Signature"];
        for part in parts.split(|byte| *byte == b',') {
            let Some((name, value)) = split_once(part, b'=') else {
                continue;
            };
            let own = names
                .iter()
                .position(|own| own.as_bytes() == name.trim_ascii());
            if let Some((name, slot)) =
                own.and_then(|own| Some((names.get(own)?, found.get_mut(own)?)))
                && slot.replace(value.trim_ascii()).is_some()
            {
                return Err(Fault::Repeated { name });
            }
        }
        let [credential, signed, signature] =
            found.map(|part| part.filter(|part| !part.is_empty()));
        let (sent, read): (_, fn(&str) -> _) = match single(head, "x-amz-date")? {
            Some(sent) => (Some(sent), basic),
            None => (single(head, "date")?, of_date_field),
        };
        let (Some(credential), Some(signed), Some(signature), Some(sent)) =
            (credential, signed, signature, sent)
        else {
            let parts = [
                (credential.is_none(), Part::Credential),
                (signature.is_none(), Part::Signature),
                (signed.is_none(), Part::SignedHeaders),
                (sent.is_none(), Part::Date),
            ];
            return Err(Fault::Parts {
                parts: lacking(parts),
                header: Some(lossy(header).into_owned()),
            });
        };
        let sent = lossy(sent);
        let Some(time) = read(&sent) else {
            let text = sent.into_owned();
            return Err(Fault::Date { text });
        };
        Ok(Self {
            head,
            form: Form::Header,
            algorithm: lossy(algorithm),
            credential: lossy(credential),
            signed: lossy(signed),
            signature: lossy(signature),
            time,
            written: match basic(&sent) {
                Some(_) => sent.clone(),
                None => written(time).into(),
            },
            sent,
            token: single(head, "x-amz-security-token")?.map(lossy),
        })
    }

    fn in_query(head: &'a Head<'a>, parameters: &[(Vec<u8>, Vec<u8>)]) -> Result<Self, Fault> {
        let one = |name: &'static str| {
            let mut values = parameters
                .iter()
                .filter(|(own, _)| own == name.as_bytes())
                .map(|(_, value)| String::from_utf8_lossy(value).into_owned());
            let value = values.next().filter(|value| !value.is_empty());
            match values.next() {
                Some(_) => Err(Fault::Repeated { name }),
                None => Ok(value),
            }
        };
        let algorithm = one("X-Amz-Algorithm")?.unwrap_or_default();
        let parts = (
            one("X-Amz-Credential")?,
            one("X-Amz-Signature")?,
            one("X-Amz-SignedHeaders")?,
            one("X-Amz-Date")?,
            one("X-Amz-Expires")?,
        );
        let (Some(credential), Some(signature), Some(signed), Some(sent), Some(expires)) = parts
        else {
            let (credential, signature, signed, sent, expires) = parts;
            let parts = [
                (credential.is_none(), Part::Credential),
                (signature.is_none(), Part::Signature),
                (signed.is_none(), Part::SignedHeaders),
                (sent.is_none(), Part::Date),
                (expires.is_none(), Part::Expires),
            ];
            return Err(Fault::Parts {
                parts: lacking(parts),
                header: None,
            });
        };
        let time = basic(&sent).ok_or_else(|| Fault::Date { text: sent.clone() })?;
        let is_number = expires.bytes().all(|digit| digit.is_ascii_digit());
        let seconds = expires.parse().ok().filter(|_| is_number);
        if !seconds.is_some_and(|seconds| (1..=MOST_EXPIRES).contains(&seconds)) {
            return Err(Fault::Expires { text: expires });
        }
        Ok(Self {
            head,
            form: Form::Query,
            algorithm: algorithm.into(),
            credential: credential.into(),
            signed: signed.into(),
            signature: signature.into(),
            time,
            written: sent.clone().into(),
            sent: sent.into(),
            token: one("X-Amz-Security-Token")?.map(Into::into),
        })
    }

    /// Where the signature stands.
    #[must_use]
    pub fn form(&self) -> Form {
        self.form
    }

    /// The canonical request, which is hashed to be signed.
    #[must_use]
    pub fn canonical_request(&self, rules: &Rules, body: BodyHash) -> Vec<u8> {
        let unsigned = match self.form {
            Form::Header => None,
            Form::Query => Some("X-Amz-Signature"),
        };
        self.head
            .canonical(&self.signed, unsigned, rules.path, body)
    }

    /// The text that is signed.
    #[must_use]
    pub fn string_to_sign(&self, rules: &Rules, body: BodyHash) -> String {
        let canonical = self.canonical_request(rules, body);
        let (_, scope) = self.parts();
        let hash = BodyHash::of(&canonical).digits();
        [ALGORITHM, &self.written, scope, text(&hash)].join("\n")
    }

    /// Holds the claim against what can be known without the caller's secret.
    ///
    /// A signature holds for as long wherever it stands. STS takes no notice of `X-Amz-Expires` either, which
    /// would otherwise let whoever has seen a request send it again for seven days.
    pub fn check(self, rules: &'a Rules, now: Timestamp) -> Result<Checked<'a>, Fault> {
        if let Some(fault) = Fault::of_time(self.time, now, rules.skew) {
            return Err(fault);
        }
        self.check_signed()?;
        if self.algorithm != ALGORITHM {
            let algorithm = self.algorithm.into_owned();
            return Err(Fault::Algorithm { algorithm });
        }
        let mut parts = self.credential.split('/');
        let [
            Some(_),
            Some(scope_day),
            Some(region),
            Some(service),
            Some(terminator),
            None,
        ] = array::from_fn(|_| parts.next())
        else {
            let credential = self.credential.into_owned();
            return Err(Fault::Scope { credential });
        };
        if region != &*rules.region {
            let region = region.to_owned();
            return Err(Fault::Region { region });
        }
        if service != &*rules.service {
            return Err(Fault::Service {
                service: service.to_owned(),
                expected: rules.service.to_string(),
            });
        }
        if terminator != TERMINATOR {
            let terminator = terminator.to_owned();
            return Err(Fault::Terminator { terminator });
        }
        if scope_day != self.day() {
            return Err(Fault::Day {
                scope: scope_day.to_owned(),
                day: self.day().to_owned(),
                time: self.sent.into_owned(),
            });
        }
        self.check_names()?;
        Ok(Checked { claim: self, rules })
    }

    /// The day of its time, as in scopes.
    fn day(&self) -> &str {
        let (day, _) = self.written.split_once('T').unwrap_or_default();
        day
    }

    /// Whether all is signed that has to be: the host, and each header field that AWS reads.
    fn check_signed(&self) -> Result<(), Fault> {
        let signed = lower(&self.signed);
        let mut names: Vec<&[u8]> = names_in(&signed).collect();
        // Signers write them in order. Others may send thousands of names, so that none is looked for in all of them.
        if !names.is_sorted() {
            names.sort_unstable();
        }
        let is_signed = |name: &str| names.binary_search(&name.as_bytes()).is_ok();
        if !is_signed("host") {
            return Err(Fault::UnsignedHost);
        }
        for (name, _) in &self.head.headers {
            let name = lower(name);
            // The hash of the body is part of what is signed in any case.
            let is_read = name.starts_with("x-amz-") && name != "x-amz-content-sha256";
            if is_read && !is_signed(&name) {
                let name = name.into_owned();
                return Err(Fault::UnsignedHeader { name });
            }
        }
        Ok(())
    }

    /// Whether the names of signed header fields are as signers write them, and are all there. If not, no signature is
    /// right, and that is the answer; so this comes after all that has an answer of its own.
    fn check_names(&self) -> Result<(), Fault> {
        let names = || names_in(&self.signed);
        let is_lower = !self.signed.bytes().any(|byte| byte.is_ascii_uppercase());
        let is_in_order = names().is_sorted_by(|name, next| name < next);
        if !is_lower || !is_in_order || names().any(<[u8]>::is_empty) {
            let names = self.signed.to_string();
            return Err(Fault::SignedHeaders { names });
        }
        // No more of them than there are fields, and one: the next is not there.
        let absent = names().find(|name| self.head.values(name).next().is_none());
        match absent {
            Some(name) => Err(Fault::AbsentHeader {
                name: lossy(name).into_owned(),
            }),
            None => Ok(()),
        }
    }

    /// The access key id, and the scope.
    fn parts(&self) -> (&str, &str) {
        self.credential.split_once('/').unwrap_or_default()
    }
}

impl Checked<'_> {
    /// Who is said to have signed.
    #[must_use]
    pub fn access_key_id(&self) -> &str {
        let (access_key_id, _) = self.claim.parts();
        access_key_id
    }

    /// The access key id and the scope, with a slash between them.
    #[must_use]
    pub fn credential(&self) -> &str {
        &self.claim.credential
    }

    /// The session token, if the access key is a temporary one.
    #[must_use]
    pub fn token(&self) -> Option<&str> {
        self.claim.token.as_deref()
    }

    /// The day, region, service and end of the scope, as in `20150830/us-east-1/swf/aws4_request`.
    #[must_use]
    pub fn scope(&self) -> &str {
        let (_, scope) = self.claim.parts();
        scope
    }

    /// The key that signs requests of this scope.
    #[must_use]
    pub fn derive(&self, secret: &Secret) -> SigningKey {
        let Rules {
            region, service, ..
        } = self.rules;
        SigningKey::derive(secret, self.claim.day(), region, service)
    }

    /// Whether the body is the one that `x-amz-content-sha256` tells of, if that is there.
    pub fn check_body(&self, body: BodyHash) -> Result<(), Fault> {
        let mut told = self.claim.head.values(b"x-amz-content-sha256");
        if told.all(|told| *told == body.digits()) {
            Ok(())
        } else {
            Err(Fault::Body)
        }
    }

    /// Whether the request and its body were signed with `key`.
    pub fn verify(&self, key: &SigningKey, body: BodyHash) -> Result<(), Fault> {
        self.check_body(body)?;
        let Self { claim, rules, .. } = self;
        let text = claim.string_to_sign(rules, body);
        if key.is_signature(&text, &claim.signature) {
            Ok(())
        } else {
            Err(Fault::Mismatch)
        }
    }
}

/// In lower case, as most are.
fn lower(text: &str) -> Cow<'_, str> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        text.to_ascii_lowercase().into()
    } else {
        text.into()
    }
}

fn lacking<const N: usize>(parts: [(bool, Part); N]) -> Vec<Part> {
    let lacking = parts.into_iter().filter(|(is_missing, _)| *is_missing);
    lacking.map(|(_, part)| part).collect()
}

/// The value of a header field that may be there once.
fn single<'a>(head: &Head<'a>, name: &'static str) -> Result<Option<&'a [u8]>, Fault> {
    let mut values = head.values(name.as_bytes());
    let value = values.next();
    if values.next().is_some() {
        return Err(Fault::Repeated { name });
    }
    Ok(value.map(<[u8]>::trim_ascii))
}

/// What is no UTF-8 is replaced. Parts between ASCII are the same whether this comes before or after they are cut.
fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    // Replacing goes byte by byte, which most values have no need of.
    str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}

/// As that of `str`.
fn split_once(bytes: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let mut parts = bytes.splitn(2, |byte| *byte == at);
    Some((parts.next()?, parts.next()?))
}
