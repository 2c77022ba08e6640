//! One request, from its head to its answer.
//!
//! The order of steps is that in which AWS answers: the body has to be JSON, the operation one of SWF's, the signature right, and
//! then documents decide. Each step takes what the one before proved. Whatever comes of it is one record in the audit log.

use std::convert::Infallible;
use std::error::Error;
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body as HttpBody, Bytes};
use hyper::header::{AsHeaderName, CONTENT_TYPE, HeaderMap, REFERER, USER_AGENT};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode, Version};
use jiff::Timestamp;
use swf_filter_core::iam::principal::Caller;
use swf_filter_core::iam::{Context, Meter};
use swf_filter_core::judge::{Network, Ruling, Shown};
use swf_filter_core::policy::{Effect, HostDocuments};
use swf_filter_core::session::Session;
use swf_filter_core::sigv4::{BodyHash, Claim, Head, QueryForm, Rules};
use swf_filter_core::sts::{self, Asker};
use swf_filter_core::swf::{Action, Call, CallFault, Scope, read_call};
use tokio::time::timeout;

use super::answer::{self, Body};
use super::arrival::Arrival;
use super::audit::{Record, Tls, Verdict};
use super::crowd::{Client, Share};
use super::guard::{HeadFault, Slot};
use super::learning::Learning;
use super::limits;
use super::pace::Pace;
use super::policy::Enforced;
use super::recording::{GONE, Recorded, Recording, microseconds};
use super::refusal::Refusal;
use super::request::{AuthorizedRequest, Identity, RequestId};
use super::settings::QuerySignatures;
use super::shared::{Fronting, Shared, lots};
use super::tls;
use crate::explain;

/// The connection that requests come over.
pub(super) struct Connection {
    pub(super) shared: Arc<Shared>,
    pub(super) listener: Arc<Fronting>,
    pub(super) arrival: Arrival,
    pub(super) tls: tls::Session,
    /// Tells which heads were refused; none where HTTP/2 is spoken.
    pub(super) slot: Option<Arc<Slot>>,
    pub(super) pace: Arc<Pace>,
}

/// The services that a listener answers for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Service {
    Sts,
    Swf,
}

impl Service {
    /// STS takes forms, and SWF takes nothing else than JSON.
    fn of(headers: &HeaderMap) -> Self {
        const FORM: &str = "application/x-www-form-urlencoded";
        let kind = header(headers, CONTENT_TYPE).unwrap_or_default();
        let is_form = kind
            .get(..FORM.len())
            .is_some_and(|kind| kind.eq_ignore_ascii_case(FORM));
        if is_form { Self::Sts } else { Self::Swf }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Sts => "sts",
            Self::Swf => "swf",
        }
    }
}

/// A request that has come whole.
struct Arrived {
    id: RequestId,
    service: Service,
    head: Parts,
    body: Bytes,
    policy: Arc<Enforced>,
    host: usize,
    /// What its body takes of what there may be.
    _room: Vec<Share>,
}

/// What else a request is judged by.
#[derive(Clone, Copy)]
struct Facts<'a> {
    /// Where it comes from; none if that cannot be told.
    network: Option<Network<'a>>,
    /// The work that it may take.
    meter: &'a Meter,
}

/// Who signed a request, without doubt.
struct Signer {
    caller: Caller,
    access_key_id: Box<str>,
    scope: Box<str>,
    session: Option<Box<Session>>,
}

/// What becomes of a request that nothing speaks against.
enum Approved {
    /// It is answered here.
    Answer(Response<Body>),
    /// It goes on to the upstream.
    Forward {
        request: AuthorizedRequest,
        /// The domain whose tasks are polled for.
        polled: Option<String>,
        /// Why it is allowed.
        reason: &'static str,
    },
}

/// What is to be answered, and what became of the request.
struct Outcome {
    response: Response<Body>,
    verdict: Verdict,
}

/// The region of hosts that name none.
const DEFAULT_REGION: &str = "us-east-1";

impl Connection {
    /// Answers a request.
    pub(super) async fn respond<B>(
        self: Arc<Self>,
        request: Request<B>,
    ) -> Result<Response<Recorded<Body>>, Infallible>
    where
        B: HttpBody<Data = Bytes>,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let under_way = self.pace.begin();
        let id = self.shared.next_id();
        let service = Service::of(request.headers());
        let record = self.record(id, service, request.headers());
        let mut record = Recording::new(Arc::clone(&self.shared), record);
        let received = self.receive(request, service, id, &mut record).await;
        let (judged, mut record) = match received {
            Ok(arrived) => self.judge_somewhere(arrived, record).await,
            Err(refusal) => (Err(refusal), record),
        };
        let outcome = match judged {
            Ok(approved) => self.carry_out(approved, &mut record).await,
            Err(refusal) => Err(refusal),
        };
        let Outcome { response, verdict } =
            outcome.unwrap_or_else(|refusal| refuse(&refusal, service, id, &mut record));
        record.verdict = verdict;
        record.status = Some(response.status().as_u16());
        Ok(response.map(|body| Recorded::new(body, record, under_way)))
    }

    fn record(&self, id: RequestId, service: Service, headers: &HeaderMap) -> Record {
        let settings = &self.listener.settings;
        let generation = self.shared.generation();
        let mut record = Record::new(
            Timestamp::now(),
            generation,
            [&settings.name, &settings.host].map(Arc::clone),
            self.arrival.peer(),
            Verdict::Refused,
            GONE,
        );
        record.request_id = Some(id.to_string().into());
        record.source = self.arrival.source();
        record.endpoint = self.arrival.endpoint().map(Into::into);
        record.tls = Some(Tls {
            version: self.tls.version.into(),
            suite: self.tls.suite.into(),
        });
        record.user_agent = header(headers, USER_AGENT).map(Into::into);
        record.service = Some(service.name().into());
        record
    }

    /// Takes a request whole, if its source is let in.
    async fn receive<B>(
        &self,
        request: Request<B>,
        service: Service,
        id: RequestId,
        record: &mut Record,
    ) -> Result<Arrived, Refusal>
    where
        B: HttpBody<Data = Bytes>,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let request = match &self.slot {
            Some(slot) => slot.admit(request)?,
            None => request,
        };
        let (head, body) = request.into_parts();
        if head.headers.len() > limits::FIELDS {
            return Err(HeadFault::TooManyFields.into());
        }
        // Before anything is answered: a client that still sends would see its connection break, and not the answer.
        let taken = timeout(limits::BODY_TIME, self.take(body)).await;
        let (body, room) = taken.map_err(|late| Refusal::Body(late.to_string().into()))??;
        // Only now: a body takes its time, and the policy may have changed in it.
        let policy = self.shared.policy.borrow().clone();
        let policy = policy.ok_or(Refusal::NoPolicy)?;
        record.generation = policy.info.generation;
        let host = policy.host(&self.listener.settings.host);
        let host = host.ok_or(Refusal::NoPolicy)?;
        self.admit(&policy, host)?;
        if head.method != Method::POST || head.uri.path() != "/" {
            return Err(Refusal::Target {
                method: head.method.as_str().into(),
                path: head.uri.path().into(),
            });
        }
        Ok(Arrived {
            id,
            service,
            head,
            body,
            policy,
            host,
            _room: room,
        })
    }

    /// Judges a request here if that is soon done, and by threads for what takes longer if not.
    async fn judge_somewhere(
        self: &Arc<Self>,
        arrived: Arrived,
        mut record: Recording,
    ) -> (Result<Approved, Refusal>, Recording) {
        if arrived.body.len() <= limits::LIGHT_BODY {
            let meter = Meter::new(limits::LIGHT_WORK);
            let judged = self.judge(&arrived, &meter, &mut record);
            if !meter.is_spent() {
                return (judged, record);
            }
        }
        let connection = Arc::clone(self);
        let judge = move |(arrived, mut record): (Arrived, Recording)| {
            let meter = Meter::new(limits::HEAVY_WORK);
            let judged = connection.judge(&arrived, &meter, &mut record);
            (judged, record)
        };
        let client = Client::of(&self.arrival);
        let judged = self.shared.heavy.run(client, (arrived, record), judge);
        judged
            .await
            .unwrap_or_else(|(_, record)| (Err(Refusal::NoRoom), record))
    }

    /// Judges a request, with as much work as `meter` has.
    fn judge(
        &self,
        arrived: &Arrived,
        meter: &Meter,
        record: &mut Record,
    ) -> Result<Approved, Refusal> {
        let network = arrived.policy.network(&self.arrival);
        if let Some(Network::Vpc { id, .. }) = network {
            record.vpc = Some(id.into());
        }
        let facts = Facts { network, meter };
        match arrived.service {
            Service::Sts => self.ask_sts(arrived, facts, record),
            Service::Swf => self.ask_swf(arrived, facts, record),
        }
    }

    /// A body, when all of it has come, with what it takes of what there may be. Room for a large one is taken as it comes: one
    /// that is announced and does not come takes none.
    async fn take<B>(&self, body: B) -> Result<(Bytes, Vec<Share>), Refusal>
    where
        B: HttpBody<Data = Bytes>,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let client = || Client::of(&self.arrival);
        let announced = body.size_hint().upper();
        let light = announced.and_then(|length| usize::try_from(length).ok());
        let light = light.filter(|length| *length <= limits::LIGHT_BODY);
        let mut room = Vec::new();
        let mut reserved = light.unwrap_or_default();
        if light.is_some() {
            let share = self.shared.light_bodies.take(client(), reserved);
            room.push(share.ok_or(Refusal::NoRoom)?);
        }
        let mut body = pin!(Limited::new(body, limits::BODY));
        let mut bytes = Vec::with_capacity(reserved);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| {
                if error.is::<LengthLimitError>() {
                    let bytes = limits::BODY + 1;
                    Refusal::Call(CallFault::Large { bytes })
                } else {
                    Refusal::Body(error.to_string().into())
                }
            })?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            let length = bytes.len() + data.len();
            if length > reserved {
                let more = (length - reserved).next_multiple_of(limits::ROOM);
                let share = self.shared.bodies.take(client(), more);
                room.push(share.ok_or(Refusal::NoRoom)?);
                reserved += more;
            }
            bytes.extend_from_slice(&data);
        }
        Ok((bytes.into(), room))
    }

    /// Whether the policy in force still lets the connection's source in.
    fn admit(&self, policy: &Enforced, host: usize) -> Result<(), Refusal> {
        match policy.admit(host, &self.arrival) {
            Some(admission) if admission.verdict == Effect::Pass => Ok(()),
            Some(admission) => Err(Refusal::Source {
                rule: format!("{} `{}`", admission.list.name(), admission.rule).into(),
            }),
            None => Err(Refusal::NoNetwork),
        }
    }

    fn ask_swf(
        &self,
        arrived: &Arrived,
        facts: Facts<'_>,
        record: &mut Record,
    ) -> Result<Approved, Refusal> {
        // Of a large body its signature is verified first, though AWS answers what is no JSON before: hashing it is some ten times
        // cheaper than reading it, and so is all that a stranger can have done.
        let early = match arrived.body.len() {
            ..=limits::LIGHT_BODY => None,
            _ => Some(self.authenticate(arrived, Service::Swf, record)?),
        };
        let call = read_swf(arrived, record);
        if let Err(
            refusal @ (Refusal::Call(CallFault::Malformed { .. } | CallFault::Large { .. })
            | Refusal::UnknownOperation { .. }),
        ) = call
        {
            return Err(refusal);
        }
        // The other faults of a body are told to those only who have signed it.
        let signer = match early {
            Some(signer) => signer,
            None => self.authenticate(arrived, Service::Swf, record)?,
        };
        let call = call?;
        let ruling = self.rule(arrived, facts, &signer, &call)?;
        record.resource = Some(ruling.resource.as_str().into());
        let decisive = ruling.refused().map(|(_, decision)| decision);
        record.set_statements(explain::statements(decisive.unwrap_or(&ruling.operation)));
        let identity = Identity {
            caller: signer.caller,
            access_key_id: signer.access_key_id,
            scope: signer.scope,
            source: self.arrival.source(),
            vpc: record.vpc.clone(),
            endpoint: self.arrival.endpoint().map(Into::into),
        };
        let body = arrived.body.clone();
        let authorized =
            AuthorizedRequest::authorize(&ruling, arrived.id, call.action, body, identity);
        let Some(request) = authorized else {
            return Err(Refusal::Denied(Box::new(ruling)));
        };
        // A ruling and a call may be larger than the body, and a poll waits for a minute: no more is kept than is needed.
        Ok(Approved::Forward {
            request,
            polled: match call.scope {
                Scope::Domain(domain) if is_poll(call.action) => Some(domain),
                _ => None,
            },
            reason: ruling.operation.reason.name(),
        })
    }

    fn rule(
        &self,
        arrived: &Arrived,
        facts: Facts<'_>,
        signer: &Signer,
        call: &Call,
    ) -> Result<Ruling, Refusal> {
        let context = self.context(arrived, facts, signer)?;
        let limit = signer.session.as_deref().and_then(Session::index);
        Ok(arrived.policy.judge.call(
            arrived.host,
            &signer.caller,
            call,
            |token| self.shared.tokens().domain(token).map(Into::into),
            &context,
            limit.as_ref(),
        )?)
    }

    fn ask_sts(
        &self,
        arrived: &Arrived,
        facts: Facts<'_>,
        record: &mut Record,
    ) -> Result<Approved, Refusal> {
        let signer = self.authenticate(arrived, Service::Sts, record)?;
        let context = self.context(arrived, facts, &signer)?;
        let asker = match &signer.session {
            Some(session) => Asker::Session(session),
            None => Asker::User {
                access_key_id: &signer.access_key_id,
                caller: &signer.caller,
            },
        };
        let call = sts::Call::read(&arrived.body)?;
        record.action = Some(format!("sts:{}", call.name()).into());
        let judge = &arrived.policy.judge;
        let outcome = sts::decide(judge, &call, asker, &context, Timestamp::now(), lots()?)?;
        let token = outcome.session().map(|session| self.shared.seal(session));
        let token = token.transpose()?.unwrap_or_default();
        let answer = outcome.answer(&token, &arrived.id.to_string());
        record.reason = "allowed".into();
        Ok(Approved::Answer(answer::xml(answer, arrived.id)))
    }

    /// Who signed.
    fn authenticate(
        &self,
        arrived: &Arrived,
        service: Service,
        record: &mut Record,
    ) -> Result<Signer, Refusal> {
        let rules = self.rules(arrived, service);
        let head = signed(&arrived.head);
        let checked = Claim::read(&head, rules.query)?.check(&rules, Timestamp::now())?;
        let access_key_id = checked.access_key_id();
        record.access_key_id = Some(access_key_id.into());
        let credentials = self.shared.credentials(access_key_id, checked.token())?;
        let key = self.shared.derived().key(checked.credential(), || {
            checked.derive(credentials.secret())
        });
        checked.verify(&key, BodyHash::of(&arrived.body))?;
        let judge = &arrived.policy.judge;
        let id = credentials.unique_id().map(Box::<str>::from);
        let (caller, session) = credentials.into_caller(judge)?;
        record.principal = Some(Arc::clone(caller.arn()));
        if let Some(id) = id {
            judge.check_id(&caller, &id)?;
        }
        Ok(Signer {
            caller,
            access_key_id: access_key_id.into(),
            scope: checked.scope().into(),
            session,
        })
    }

    /// What signatures are held against.
    fn rules(&self, arrived: &Arrived, service: Service) -> Rules {
        let host = arrived.policy.policy.hosts.get(arrived.host);
        let documents = host.and_then(|host| host.documents.as_ref());
        let region = documents.map_or(DEFAULT_REGION, HostDocuments::region);
        Rules {
            query: match self.listener.settings.query_signatures {
                QuerySignatures::Accept => QueryForm::Accept,
                QuerySignatures::Ignore => QueryForm::Ignore,
            },
            ..Rules::of(region, service.name())
        }
    }

    /// What is known of a request, but for what its body tells.
    fn context<'a>(
        &'a self,
        arrived: &'a Arrived,
        facts: Facts<'a>,
        signer: &'a Signer,
    ) -> Result<Context<'a>, Refusal> {
        let network = facts.network.ok_or(Refusal::NoNetwork)?;
        let fields = |name| {
            let values = arrived.head.headers.get_all(name).iter();
            values.map(|value| String::from_utf8_lossy(value.as_bytes()))
        };
        let shown = Shown {
            at: Some(Timestamp::now()),
            referers: fields(REFERER).collect(),
            session: signer.session.as_deref(),
            tls: Some([self.tls.version, self.tls.suite]),
            user_agents: fields(USER_AGENT).collect(),
        };
        let judge = &arrived.policy.judge;
        let context = judge.context(arrived.host, &signer.caller, network, shown);
        Ok(context.metered(facts.meter))
    }

    async fn carry_out(&self, approved: Approved, record: &mut Record) -> Result<Outcome, Refusal> {
        let (request, polled, reason) = match approved {
            Approved::Answer(response) => {
                return Ok(Outcome {
                    response,
                    verdict: Verdict::Allowed,
                });
            }
            Approved::Forward {
                request,
                polled,
                reason,
            } => (request, polled, reason),
        };
        record.upstream = Some(Arc::clone(&self.listener.upstream_name));
        // From here on it may be done, whether or not anybody is left to be told.
        record.verdict = Verdict::Failed;
        let start = Instant::now();
        let sent = self.listener.upstream.send(&request).await;
        record.upstream_microseconds = Some(microseconds(start));
        let sent = sent?;
        record.upstream_status = Some(sent.status.as_u16());
        let (head, body) = answer::head(sent);
        let body = match polled {
            // Whoever gets a task may speak of it, so that its domain has to be known before.
            Some(domain) if head.0 == StatusCode::OK => {
                let shared = Arc::clone(&self.shared);
                Learning::new(body, shared, &domain).boxed_unsync()
            }
            _ => body.map_err(Into::into).boxed_unsync(),
        };
        record.reason = reason.into();
        Ok(Outcome {
            response: answer::passed_on(head, body, request.id()),
            verdict: Verdict::Allowed,
        })
    }
}

/// Answers a request that gets no further.
fn refuse(refusal: &Refusal, service: Service, id: RequestId, record: &mut Record) -> Outcome {
    record.reason = refusal.name().into();
    record.words = Some(refusal.to_string().into());
    let mut inside = None;
    if let Refusal::Denied(ruling) = refusal {
        let decisions = ruling.decisions.iter();
        let refused = decisions.filter(|ruled| !ruled.decision.is_allowed());
        record.set_decisions(refused.map(explain::decision));
        inside = ruling.refused().and_then(|(inside, _)| inside);
    }
    let known = |text: Option<&str>| text.unwrap_or("?").to_owned();
    let action = match inside {
        Some(decision) => decision.action.to_string(),
        None => known(record.action.as_deref()),
    };
    let denied = format!(
        "User: {} is not authorized to perform: {action} on resource: {}",
        known(record.principal.as_deref()),
        known(record.resource.as_deref()),
    );
    let response = match (service, refusal.sts()) {
        (Service::Sts, Some(fault)) => answer::xml(fault.answer(&id.to_string()), id),
        (Service::Sts, None) => answer::told_in_xml(&refusal.told(denied), id),
        (Service::Swf, _) => answer::told(&refusal.told(denied), id),
    };
    Outcome {
        response,
        verdict: refusal.verdict(),
    }
}

fn read_swf(arrived: &Arrived, record: &mut Record) -> Result<Call, Refusal> {
    let target = header(&arrived.head.headers, "x-amz-target").unwrap_or_default();
    let Some(action) = Action::from_target(target) else {
        serde_json::from_slice::<serde::de::IgnoredAny>(&arrived.body).map_err(|error| {
            CallFault::Malformed {
                reason: error.to_string(),
                line: error.line(),
                column: error.column(),
            }
        })?;
        let target = target.into();
        return Err(Refusal::UnknownOperation { target });
    };
    record.action = Some(action.to_string().into());
    Ok(read_call(action, &arrived.body)?)
}

/// A head as it is signed.
fn signed(head: &Parts) -> Head<'_> {
    let fields = head.headers.iter();
    let fields = fields.map(|(name, value)| (name.as_str(), value.as_bytes()));
    let authority = head.uri.authority();
    let authority = authority.filter(|_| head.version == Version::HTTP_2);
    let authority = authority.map(|authority| ("host", authority.as_str().as_bytes()));
    Head {
        method: head.method.as_str(),
        path: head.uri.path(),
        query: head.uri.query().unwrap_or_default(),
        headers: authority.into_iter().chain(fields).collect(),
    }
}

fn header(headers: &HeaderMap, name: impl AsHeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

fn is_poll(action: Action) -> bool {
    matches!(
        action,
        Action::PollForActivityTask | Action::PollForDecisionTask
    )
}

#[cfg(test)]
mod tests;
