//! What a call is about: its domain, its condition keys, and its decisions, read from its body.

use std::fmt;

use thiserror::Error;

use super::action::{Action, Subject, TAGS};
use super::json::{Json, Object};
use crate::prefix::text::excerpt;

/// Bytes that a request's body may have. SWF takes 1 MB at most.
pub const MAX_BODY: usize = 1 << 20;

/// Condition keys, lower-cased, each with its values. A key that the request does not have is not there.
pub type Keys = Vec<(String, Vec<String>)>;

/// What IAM decides a call by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The operation.
    pub action: Action,
    /// What it is about.
    pub scope: Scope,
    /// Its condition keys.
    pub keys: Keys,
    /// The decisions in it that need a permission of their own, in order; only `RespondDecisionTaskCompleted` has any.
    pub decisions: Vec<Decision>,
}

/// What a call is about, as far as the call says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The domain of this name.
    Domain(String),
    /// Every domain of the account.
    EveryDomain,
    /// What has this ARN.
    ResourceArn(String),
    /// The domain of the task that this token was given out for.
    TaskToken(String),
}

/// A decision that needs a permission of its own.
///
/// `ScheduleLambdaFunction` never becomes one: IAM has no action for it. SWF lets the workflow's Lambda role decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Its place in the request's list, from 0.
    pub position: usize,
    /// The permission.
    pub action: Action,
    /// Its condition keys.
    pub keys: Keys,
}

/// Why a call cannot be decided. Places are paths in the body, such as `decisions[3].decisionType`.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CallFault {
    /// A name, ARN or token has no characters.
    #[error("`{path}` is empty")]
    Empty {
        /// Where.
        path: String,
    },
    /// The body is above [`MAX_BODY`].
    #[error("the body has {bytes} bytes, and the most is {MAX_BODY}")]
    Large {
        /// Bytes of the body.
        bytes: usize,
    },
    /// The body is not JSON, or an object in it names a member twice.
    #[error("the body cannot be read as JSON: {reason} (line {line}, column {column})")]
    Malformed {
        /// What is wrong.
        reason: String,
        /// The line that reading stopped in, from 1. For a member that is there twice, that is where its object ends.
        line: usize,
        /// The column there, from 1, in bytes.
        column: usize,
    },
    /// Something that has to be there is not.
    #[error("`{path}` is missing")]
    Missing {
        /// Where.
        path: String,
    },
    /// The action is a permission for decisions, which nobody calls.
    #[error("`{action}` is a decision, not an operation")]
    NotOperation {
        /// The action.
        action: Action,
    },
    /// A text holds the character U+0000, where some readers stop.
    #[error("`{path}` holds the character U+0000")]
    Nul {
        /// Where.
        path: String,
    },
    /// Two resource tags have one key, or keys that differ in case only: IAM knows just one value for both.
    #[error("`{path}` is `{key}`, which an earlier tag has too", key = excerpt(.key))]
    RepeatedTag {
        /// Where the later one stands.
        path: String,
        /// Its key.
        key: String,
    },
    /// A text is longer than SWF's model lets that member be.
    #[error("`{path}` has more than {most} characters, the most that SWF takes there")]
    TooLong {
        /// Where.
        path: String,
        /// Characters that there may be.
        most: usize,
    },
    /// A list is longer than SWF allows.
    #[error("`{path}` has {count} items, and the most is {most}")]
    TooMany {
        /// Where.
        path: String,
        /// Items in it.
        count: usize,
        /// Items that there may be.
        most: usize,
    },
    /// A value is of another type.
    #[error("`{path}` is {found}, not {expected}")]
    Type {
        /// Where.
        path: String,
        /// What it has to be, with an article.
        expected: &'static str,
        /// What it is, with an article.
        found: &'static str,
    },
    /// A decision is of no type that SWF has.
    #[error("`{path}` is `{kind}`, which is no type of decision", kind = excerpt(.kind))]
    UnknownDecision {
        /// Where.
        path: String,
        /// The type as written.
        kind: String,
    },
}

/// Reads the body of a call of an operation.
pub fn read_call(action: Action, body: &[u8]) -> Result<Call, CallFault> {
    if body.len() > MAX_BODY {
        return Err(CallFault::Large { bytes: body.len() });
    }
    let json = Json::read(body).map_err(|error| malformed(&error))?;
    let request = Place::body(&json);
    request.object()?;
    Ok(Call {
        action,
        scope: scope(action, &request)?,
        keys: keys(action, &request)?,
        decisions: decisions(action, &request)?,
    })
}

fn malformed(error: &serde_json::Error) -> CallFault {
    let (line, column) = (error.line(), error.column());
    let text = error.to_string();
    let place = format!(" at line {line} column {column}");
    CallFault::Malformed {
        reason: text.strip_suffix(&place).unwrap_or(&text).to_owned(),
        line,
        column,
    }
}

fn scope(action: Action, request: &Place<'_>) -> Result<Scope, CallFault> {
    match action.subject() {
        Subject::Decision => Err(CallFault::NotOperation { action }),
        Subject::Domain => request.filled("domain").map(Scope::Domain),
        Subject::Everything => Ok(Scope::EveryDomain),
        Subject::Name => request.filled("name").map(Scope::Domain),
        Subject::ResourceArn => request.filled("resourceArn").map(Scope::ResourceArn),
        Subject::TaskToken => request.filled("taskToken").map(Scope::TaskToken),
    }
}

fn keys(action: Action, request: &Place<'_>) -> Result<Keys, CallFault> {
    match action {
        Action::RegisterDomain | Action::TagResource => new_tags(request),
        Action::UntagResource => old_tags(request),
        _ => swf_keys(action, request),
    }
}

/// The keys that the table gives the action, read from its request, or from a decision's attributes.
fn swf_keys(action: Action, input: &Place<'_>) -> Result<Keys, CallFault> {
    let mut keys = Keys::new();
    for key in action.condition_keys() {
        if let Some(value) = swf_key(action, key, input)? {
            keys.push((key.to_ascii_lowercase(), vec![value]));
        }
    }
    Ok(keys)
}

fn swf_key(action: Action, key: &str, input: &Place<'_>) -> Result<Option<String>, CallFault> {
    if let Some(number) = TAGS.iter().position(|tag| *tag == key) {
        return workflow_tag(number, input);
    }
    match (action, key.trim_start_matches("swf:")) {
        // Two names, one member.
        (Action::ContinueAsNewWorkflowExecution, "workflowType.version") => {
            text_at("workflowTypeVersion", input)
        }
        (_, path) => text_at(path, input),
    }
}

fn workflow_tag(number: usize, input: &Place<'_>) -> Result<Option<String>, CallFault> {
    let Some(tags) = input.member("tagList")? else {
        return Ok(None);
    };
    // A sixth tag has no key, so that no policy could see it.
    let mut tags = tags.items(TAGS.len())?;
    tags.nth(number).map(|tag| tag.text()).transpose()
}

/// The text at a path such as `taskList.name`.
fn text_at(path: &str, input: &Place<'_>) -> Result<Option<String>, CallFault> {
    let (name, rest) = match path.split_once('.') {
        Some((name, rest)) => (name, Some(rest)),
        None => (path, None),
    };
    let Some(member) = input.member(name)? else {
        return Ok(None);
    };
    match rest {
        Some(rest) => text_at(rest, &member),
        None => member.text().map(Some),
    }
}

/// The keys of tags that a call puts on a domain.
fn new_tags(request: &Place<'_>) -> Result<Keys, CallFault> {
    let mut keys = Keys::new();
    let mut names = Vec::new();
    if let Some(tags) = request.member("tags")? {
        for tag in tags.items(RESOURCE_TAGS)? {
            let (name, value) = resource_tag(&tag)?;
            let key = format!("aws:requesttag/{}", name.to_ascii_lowercase());
            if keys.iter().any(|(other, _)| *other == key) {
                let path = tag.required("key")?.path.to_string();
                return Err(CallFault::RepeatedTag { path, key: name });
            }
            keys.push((key, vec![value]));
            names.push(name);
        }
    }
    keys.extend(tag_keys(names));
    Ok(keys)
}

fn resource_tag(tag: &Place<'_>) -> Result<(String, String), CallFault> {
    // SWF lets a tag go without value, which is the empty one.
    let value = match tag.member("value")? {
        Some(value) => value.text()?,
        None => String::new(),
    };
    Ok((tag.filled("key")?, value))
}

/// The keys of tags that a call takes off a domain.
fn old_tags(request: &Place<'_>) -> Result<Keys, CallFault> {
    let Some(names) = request.member("tagKeys")? else {
        return Ok(Keys::new());
    };
    let names = names.items(RESOURCE_TAGS)?.map(|name| name.text());
    let names = names.collect::<Result<_, _>>()?;
    Ok(tag_keys(names).into_iter().collect())
}

fn tag_keys(names: Vec<String>) -> Option<(String, Vec<String>)> {
    (!names.is_empty()).then(|| ("aws:tagkeys".to_owned(), names))
}

fn decisions(action: Action, request: &Place<'_>) -> Result<Vec<Decision>, CallFault> {
    if action != Action::RespondDecisionTaskCompleted {
        return Ok(Vec::new());
    }
    let Some(list) = request.member("decisions")? else {
        return Ok(Vec::new());
    };
    let items = list.items(usize::MAX)?.enumerate();
    items
        .filter_map(|(position, item)| decision(position, &item).transpose())
        .collect()
}

fn decision(position: usize, item: &Place<'_>) -> Result<Option<Decision>, CallFault> {
    let kind_place = item.required("decisionType")?;
    let kind = kind_place.text()?;
    let action = Action::from_decision_type(&kind);
    if action.is_none() && kind != WITHOUT_PERMISSION {
        let path = kind_place.path.to_string();
        return Err(CallFault::UnknownDecision { path, kind });
    }
    let Some(action) = action else {
        return Ok(None);
    };
    // Whether they have to be there is for SWF to say: those of a marker do, those of a cancellation do not.
    let keys = match item.member(&attributes_name(&kind))? {
        Some(attributes) => {
            attributes.object()?;
            swf_keys(action, &attributes)?
        }
        None => Keys::new(),
    };
    Ok(Some(Decision {
        position,
        action,
        keys,
    }))
}

/// The member that holds the attributes of decisions of a type: `startTimerDecisionAttributes` for `StartTimer`.
fn attributes_name(kind: &str) -> String {
    let mut characters = kind.chars();
    let first = characters.next().map(|first| first.to_ascii_lowercase());
    let name = first.into_iter().chain(characters);
    name.chain("DecisionAttributes".chars()).collect()
}

/// Where something stands in a body. It is written out only for a fault.
#[derive(Clone, Copy)]
enum Path<'a> {
    Body,
    Item(&'a Path<'a>, usize),
    Member(&'a Path<'a>, &'a str),
}

impl Path<'_> {
    /// Characters that the text here may have, by the name of its member.
    ///
    /// The model of SWF (2012-01-25) gives each member of a name one length in all requests and decisions that are read
    /// here. Every other text that decides is a `Name`, `DomainName`, `Tag` or `ResourceTagValue`, of 256.
    fn longest_text(&self) -> usize {
        match self {
            Self::Item(list, _) => list.longest_text(),
            Self::Member(_, "version" | "workflowTypeVersion") => 64,
            Self::Member(_, "key" | "tagKeys") => 128,
            Self::Member(_, "taskToken") => 1_024,
            Self::Member(_, "resourceArn") => 1_600,
            Self::Body | Self::Member(..) => 256,
        }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Body => f.write_str("body"),
            Self::Item(list, number) => write!(f, "{list}[{number}]"),
            Self::Member(Self::Body, name) => f.write_str(name),
            Self::Member(object, name) => write!(f, "{object}.{name}"),
        }
    }
}

/// A value and where it stands.
struct Place<'a> {
    json: &'a Json<'a>,
    path: Path<'a>,
}

impl<'a> Place<'a> {
    fn body(json: &'a Json<'a>) -> Self {
        Self {
            json,
            path: Path::Body,
        }
    }

    fn object(&self) -> Result<&Object<'a>, CallFault> {
        match self.json {
            Json::Object(object) => Ok(object),
            _ => Err(self.wrong_type("an object")),
        }
    }

    fn member<'b>(&'b self, name: &'b str) -> Result<Option<Place<'b>>, CallFault> {
        let path = Path::Member(&self.path, name);
        // To SWF a member that is null is one that is not there.
        let value = self.object()?.get(name);
        let value = value.filter(|json| !matches!(json, Json::Null));
        Ok(value.map(|json| Place { json, path }))
    }

    fn required<'b>(&'b self, name: &'b str) -> Result<Place<'b>, CallFault> {
        self.member(name)?.ok_or_else(|| CallFault::Missing {
            path: Path::Member(&self.path, name).to_string(),
        })
    }

    /// The text of a member that has to be there, and not be empty.
    fn filled(&self, name: &str) -> Result<String, CallFault> {
        let member = self.required(name)?;
        let text = member.text()?;
        if text.is_empty() {
            let path = member.path.to_string();
            return Err(CallFault::Empty { path });
        }
        Ok(text)
    }

    fn items(&self, most: usize) -> Result<impl Iterator<Item = Place<'_>>, CallFault> {
        let Json::List(items) = self.json else {
            return Err(self.wrong_type("a list"));
        };
        if items.len() > most {
            return Err(CallFault::TooMany {
                path: self.path.to_string(),
                count: items.len(),
                most,
            });
        }
        let items = items.iter().enumerate();
        Ok(items.map(|(number, json)| Place {
            json,
            path: Path::Item(&self.path, number),
        }))
    }

    fn text(&self) -> Result<String, CallFault> {
        match self.json {
            Json::Text(text) if text.contains('\0') => Err(CallFault::Nul {
                path: self.path.to_string(),
            }),
            Json::Text(text) => {
                let most = self.path.longest_text();
                if text.chars().nth(most).is_some() {
                    let path = self.path.to_string();
                    return Err(CallFault::TooLong { path, most });
                }
                Ok(text.to_string())
            }
            _ => Err(self.wrong_type("a string")),
        }
    }

    fn wrong_type(&self, expected: &'static str) -> CallFault {
        CallFault::Type {
            path: self.path.to_string(),
            expected,
            found: self.json.kind(),
        }
    }
}

/// Tags that SWF lets a domain have.
const RESOURCE_TAGS: usize = 50;

/// The only decision that IAM has no action for.
const WITHOUT_PERMISSION: &str = "ScheduleLambdaFunction";
