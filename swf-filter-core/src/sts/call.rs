//! Reading a call: a form, with what the API reference of STS asks of each parameter.
//!
//! A parameter that is there twice or that is not known is refused. AWS leaves unknown ones aside; but one that limits a
//! session, and is not understood, must not come to a session without the limit.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::fault::Fault;
use crate::prefix::text::excerpt;
use crate::session::{Reach, Tag, limit};

/// The longest body of a call. That of the longest role, policy and tags is shorter.
pub const MAX_BODY: usize = 128 << 10;

/// What STS is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// To make the caller a session of a role.
    AssumeRole(Box<AssumeRole>),
    /// Who the caller is.
    GetCallerIdentity,
    /// Temporary credentials for a user.
    GetSessionToken {
        /// For how many seconds.
        seconds: i64,
    },
}

/// What somebody who wants to assume a role says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssumeRole {
    /// The ARN of the role.
    pub role: Box<str>,
    /// What the session is to be called.
    pub session_name: Box<str>,
    /// For how many seconds.
    pub seconds: i64,
    /// A document that limits the session. It can be read.
    pub policy: Option<Box<str>>,
    /// Tags for the session.
    pub tags: Vec<Tag>,
    /// What the owner of the role and the caller have agreed on.
    pub external_id: Option<Box<str>>,
    /// Who is behind the session.
    pub source_identity: Option<Box<str>>,
}

impl Call {
    /// The name of the action, without `sts:`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::AssumeRole(_) => "AssumeRole",
            Self::GetCallerIdentity => "GetCallerIdentity",
            Self::GetSessionToken { .. } => "GetSessionToken",
        }
    }

    /// Reads the body of a request.
    pub fn read(body: &[u8]) -> Result<Self, Fault> {
        if body.len() > MAX_BODY {
            return Err(Fault::Form {
                wrong: format!("there are more than {MAX_BODY} bytes"),
            });
        }
        let mut form = Form::read(body)?;
        let action = form.take("Action").ok_or(Fault::NoAction)?;
        let version = form.take("Version");
        let version = version.as_deref().unwrap_or("NO_VERSION_SPECIFIED");
        if version != VERSION {
            return Err(Fault::unknown_action(&action, version));
        }
        let call = match &*action {
            "AssumeRole" => Self::AssumeRole(Box::new(AssumeRole::read(&mut form)?)),
            "GetCallerIdentity" => Self::GetCallerIdentity,
            "GetSessionToken" => {
                form.refuse_mfa()?;
                // API reference, GetSessionToken: 15 minutes to 36 hours, and 12 hours unless said.
                let seconds = form.seconds(129_600, 43_200)?;
                Self::GetSessionToken { seconds }
            }
            _ => return Err(Fault::unknown_action(&action, version)),
        };
        form.end()?;
        Ok(call)
    }
}

impl AssumeRole {
    fn read(form: &mut Form<'_>) -> Result<Self, Fault> {
        form.refuse_mfa()?;
        for (name, member) in UNSUPPORTED {
            if form.take_all(name).next().is_some() {
                return Err(Fault::Parameter {
                    wrong: format!("{name} is not supported: {member}"),
                });
            }
        }
        let role = form.required("RoleArn", &Rule::ROLE)?;
        if !is_role(&role) {
            return Err(Fault::Parameter {
                wrong: format!("{} is invalid", excerpt(&role)),
            });
        }
        let session_name = form.required("RoleSessionName", &Rule::SESSION_NAME)?;
        // API reference, AssumeRole: 15 minutes to 12 hours, and an hour unless said.
        let seconds = form.seconds(43_200, 3_600)?;
        let policy = form.text("Policy", &Rule::POLICY)?;
        if let Some(policy) = &policy {
            limit(policy).map_err(|problems| Fault::Policy {
                wrong: match problems.list.first() {
                    Some(problem) => problem.to_string(),
                    None => problems.to_string(),
                },
            })?;
        }
        let source_identity = form.text("SourceIdentity", &Rule::SOURCE_IDENTITY)?;
        if source_identity.as_deref().is_some_and(has_reserved_prefix) {
            return Err(Fault::Parameter {
                wrong: "SourceIdentity must not begin with aws:".into(),
            });
        }
        Ok(Self {
            role,
            session_name,
            seconds,
            policy,
            tags: form.tags()?,
            external_id: form.text("ExternalId", &Rule::EXTERNAL_ID)?,
            source_identity,
        })
    }
}

/// The only version of the API that there is.
const VERSION: &str = "2011-06-15";

/// Parameters of `AssumeRole` that are refused, and why.
const UNSUPPORTED: [(&str, &str); 2] = [
    ("PolicyArns", "there are no managed policies here"),
    ("ProvidedContexts", "there are no context providers here"),
];

/// The parameters of a form that were not read yet.
struct Form<'a> {
    parameters: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
}

impl<'a> Form<'a> {
    fn read(body: &'a [u8]) -> Result<Self, Fault> {
        let mut parameters = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(body) {
            // An empty list is written as its name and nothing.
            if value.is_empty() && LISTS.contains(&&*name) {
                continue;
            }
            match parameters.entry(name) {
                Entry::Occupied(twice) => {
                    let name = excerpt(twice.key());
                    return Err(Fault::Form {
                        wrong: format!("the parameter {name} is there twice"),
                    });
                }
                Entry::Vacant(free) => {
                    free.insert(value);
                }
            }
        }
        Ok(Self { parameters })
    }

    fn take(&mut self, name: &str) -> Option<Cow<'a, str>> {
        self.parameters.remove(name)
    }

    /// Takes all parameters of a list: what follows its name and a dot, with the value.
    fn take_all(&mut self, list: &str) -> impl Iterator<Item = (String, Cow<'a, str>)> {
        let is_own = move |name: &Cow<'a, str>, _: &mut Cow<'a, str>| {
            name.strip_prefix(list)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let own = self.parameters.extract_if(.., is_own);
        own.map(move |(name, value)| {
            let rest = name.get(list.len() + 1..).unwrap_or_default();
            (rest.to_owned(), value)
        })
    }

    fn text(&mut self, name: &'static str, rule: &Rule) -> Result<Option<Box<str>>, Fault> {
        let Some(text) = self.take(name) else {
            return Ok(None);
        };
        rule.check(&member(name), &text)?;
        Ok(Some(text.into()))
    }

    fn required(&mut self, name: &'static str, rule: &Rule) -> Result<Box<str>, Fault> {
        self.text(name, rule)?.ok_or_else(|| Fault::Parameter {
            wrong: format!(
                "1 validation error detected: Value null at '{}' failed to satisfy constraint: Member must not be null",
                member(name)
            ),
        })
    }

    fn seconds(&mut self, most: i64, unless_said: i64) -> Result<i64, Fault> {
        let Some(text) = self.take("DurationSeconds") else {
            return Ok(unless_said);
        };
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let seconds = text.parse::<i64>().ok().filter(|_| is_number);
        let constraint = match seconds {
            None => "Member must be an integer".to_owned(),
            Some(seconds) if seconds < LEAST_SECONDS => {
                format!("Member must have value greater than or equal to {LEAST_SECONDS}")
            }
            Some(seconds) if seconds > most => {
                format!("Member must have value less than or equal to {most}")
            }
            Some(seconds) => return Ok(seconds),
        };
        Err(violated("durationSeconds", &text, &constraint))
    }

    /// There are no MFA devices here: a code cannot be right.
    fn refuse_mfa(&mut self) -> Result<(), Fault> {
        match self.take("SerialNumber").or_else(|| self.take("TokenCode")) {
            Some(_) => Err(Fault::Mfa),
            None => Ok(()),
        }
    }

    fn tags(&mut self) -> Result<Vec<Tag>, Fault> {
        let mut halves: BTreeMap<u32, [Option<Cow<'a, str>>; 2]> = BTreeMap::new();
        for (name, value) in self.take_all("Tags") {
            let slot = number(&name).and_then(|(number, half)| {
                let [key, own] = halves.entry(number).or_default();
                match half {
                    "Key" => Some(key),
                    "Value" => Some(own),
                    _ => None,
                }
            });
            *slot.ok_or_else(|| unknown(&format!("Tags.{name}")))? = Some(value);
        }
        most("tags", halves.len())?;
        let mut tags: Vec<Tag> = Vec::with_capacity(halves.len());
        for (number, [key, value]) in halves {
            let of = |half| format!("tags.{number}.member.{half}");
            let null = |half| Fault::Parameter {
                wrong: format!(
                    "1 validation error detected: Value null at '{}' failed to satisfy constraint: Member must not be null",
                    of(half)
                ),
            };
            let key = key.ok_or_else(|| null("key"))?;
            let value = value.ok_or_else(|| null("value"))?;
            Rule::TAG_KEY.check(&of("key"), &key)?;
            Rule::TAG_VALUE.check(&of("value"), &value)?;
            if has_reserved_prefix(&key) {
                return Err(Fault::TagKeys {
                    wrong: "Tag keys must not begin with aws:",
                });
            }
            if tags.iter().any(|tag| tag.key.eq_ignore_ascii_case(&key)) {
                return Err(Fault::TagKeys {
                    wrong: "Duplicate tag keys found. Please note that Tag keys are case insensitive.",
                });
            }
            tags.push(Tag {
                key: key.into(),
                value: value.into(),
                reach: Reach::Own,
            });
        }
        let transitive: Vec<_> = self.take_all("TransitiveTagKeys").collect();
        most("transitiveTagKeys", transitive.len())?;
        for (name, key) in transitive {
            if number(&name).is_none_or(|(_, rest)| !rest.is_empty()) {
                return Err(unknown(&format!("TransitiveTagKeys.{name}")));
            }
            let mut own = tags.iter_mut();
            let own = own.find(|tag| tag.key.eq_ignore_ascii_case(&key));
            own.ok_or(Fault::TagKeys {
                wrong: "The specified transitive tag key must be included in the requested tags.",
            })?
            .reach = Reach::Transitive;
        }
        Ok(tags)
    }

    /// Refuses what nobody read.
    fn end(&self) -> Result<(), Fault> {
        match self.parameters.keys().next() {
            Some(name) => Err(unknown(name)),
            None => Ok(()),
        }
    }
}

/// Parameters that are lists.
const LISTS: [&str; 4] = [
    "PolicyArns",
    "ProvidedContexts",
    "Tags",
    "TransitiveTagKeys",
];

/// Fifteen minutes.
const LEAST_SECONDS: i64 = 900;

/// How many tags, and names of tags, a call may have.
const MOST_TAGS: usize = 50;

fn most(list: &str, count: usize) -> Result<(), Fault> {
    if count <= MOST_TAGS {
        return Ok(());
    }
    let constraint = format!("Member must have length less than or equal to {MOST_TAGS}");
    Err(violated(list, &format!("[{count} members]"), &constraint))
}

/// The number in `member.N` and `member.N.REST`, and the rest.
fn number(name: &str) -> Option<(u32, &str)> {
    let name = name.strip_prefix("member.")?;
    let (digits, rest) = match name.split_once('.') {
        Some((_, "")) => return None,
        Some(split) => split,
        None => (name, ""),
    };
    let number: u32 = digits.parse().ok()?;
    // One number is written in one way.
    (number.to_string() == digits).then_some((number, rest))
}

fn unknown(name: &str) -> Fault {
    Fault::Form {
        wrong: format!("the parameter {} is not known", excerpt(name)),
    }
}

/// As AWS calls a parameter in its messages.
fn member(name: &str) -> String {
    let (first, rest) = name.split_at_checked(1).unwrap_or((name, ""));
    first.to_ascii_lowercase() + rest
}

fn violated(member: &str, value: &str, constraint: &str) -> Fault {
    Fault::Parameter {
        wrong: format!(
            "1 validation error detected: Value '{}' at '{member}' failed to satisfy constraint: {constraint}",
            excerpt(value)
        ),
    }
}

fn has_reserved_prefix(text: &str) -> bool {
    text.get(..4)
        .is_some_and(|start| start.eq_ignore_ascii_case("aws:"))
}

/// Whether a text is the ARN of a role.
fn is_role(arn: &str) -> bool {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let ["arn", partition, "iam", "", account, name] = *parts else {
        return false;
    };
    let name = name.strip_prefix("role/");
    partition.starts_with("aws")
        && crate::iam::principal::is_account(account)
        && name.is_some_and(crate::iam::principal::is_path)
}

/// How long a parameter may be, in characters, and of what.
struct Rule {
    least: usize,
    most: usize,
    pattern: &'static str,
    fits: fn(char) -> bool,
}

/// API reference of STS, `AssumeRole` and `Tag`.
impl Rule {
    const EXTERNAL_ID: Self = Self {
        least: 2,
        most: 1_224,
        pattern: r"[\w+=,.@:\/-]*",
        fits: |character| is_word(character) || ":/".contains(character),
    };
    const POLICY: Self = Self {
        least: 1,
        most: 2_048,
        pattern: r"[\u0009\u000A\u000D\u0020-\u00FF]+",
        fits: |character| matches!(character, '\t' | '\n' | '\r' | ' '..='\u{ff}'),
    };
    const ROLE: Self = Self {
        least: 20,
        most: 2_048,
        pattern: r"[\u0009\u000A\u000D\u0020-\u007E\u0085\u00A0-\uD7FF\uE000-\uFFFD\u10000-\u10FFFF]+",
        fits: |character| !character.is_control(),
    };
    const SESSION_NAME: Self = Self {
        least: 2,
        most: 64,
        pattern: r"[\w+=,.@-]*",
        fits: is_word,
    };
    const SOURCE_IDENTITY: Self = Self::SESSION_NAME;
    const TAG_KEY: Self = Self {
        least: 1,
        most: 128,
        pattern: r"[\p{L}\p{Z}\p{N}_.:/=+\-@]+",
        fits: is_of_tag,
    };
    const TAG_VALUE: Self = Self {
        least: 0,
        most: 256,
        pattern: r"[\p{L}\p{Z}\p{N}_.:/=+\-@]*",
        fits: is_of_tag,
    };

    fn check(&self, member: &str, text: &str) -> Result<(), Fault> {
        let length = text.chars().count();
        let constraint = if length < self.least {
            format!(
                "Member must have length greater than or equal to {}",
                self.least
            )
        } else if length > self.most {
            format!(
                "Member must have length less than or equal to {}",
                self.most
            )
        } else if !text.chars().all(self.fits) {
            format!(
                "Member must satisfy regular expression pattern: {}",
                self.pattern
            )
        } else {
            return Ok(());
        };
        Err(violated(member, text, &constraint))
    }
}

/// `[\w+=,.@-]`
fn is_word(character: char) -> bool {
    character.is_ascii_alphanumeric() || "_+=,.@-".contains(character)
}

/// `[\p{L}\p{Z}\p{N}_.:/=+\-@]`, and marks that belong to letters.
fn is_of_tag(character: char) -> bool {
    character.is_alphanumeric()
        || character.is_whitespace() && !character.is_control()
        || "_.:/=+-@".contains(character)
}
