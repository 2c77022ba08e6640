//! Requests to AWS itself, signed with the credentials of this machine.
//!
//! Credentials come from where AWS's SDKs look for them: the environment, profiles, web identity, ECS, and the instance's
//! metadata; not from SSO, nor from processes. They are kept, and asked for again before they expire. While that fails, those at
//! hand are used as long as they hold.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwapOption;
use aws_config::Region;
use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use hyper::header::{CONTENT_LENGTH, USER_AGENT};
use tokio::sync::{Mutex, MutexGuard};

use super::fault::chain;
use super::{Message, UpstreamFault};

/// Signs requests to SWF of one region.
#[derive(Debug)]
pub(super) struct Signer {
    region: Box<str>,
    provider: SharedCredentialsProvider,
    held: ArcSwapOption<Held>,
    /// Whoever has it asks for credentials. Requests wait for it only if there are none.
    asking: Mutex<()>,
}

/// What is known of credentials.
#[derive(Debug)]
struct Held {
    credentials: Result<Credentials, Box<str>>,
    /// When to ask again.
    again: Instant,
}

impl Signer {
    /// A signer with the credentials of this machine. It says in the log if there are none yet.
    pub(super) async fn of_machine(region: &str) -> Arc<Self> {
        let chain = DefaultCredentialsChain::builder().region(Region::new(region.to_owned()));
        Self::new(region, SharedCredentialsProvider::new(chain.build().await)).await
    }

    /// The same, with credentials from elsewhere.
    pub(super) async fn new(region: &str, provider: SharedCredentialsProvider) -> Arc<Self> {
        let signer = Arc::new(Self {
            region: region.into(),
            provider,
            held: ArcSwapOption::empty(),
            asking: Mutex::new(()),
        });
        signer.ask(signer.asking.lock().await).await;
        signer
    }

    /// Adds `x-amz-date`, `authorization`, and `x-amz-security-token` if there is one.
    pub(super) async fn sign(
        self: &Arc<Self>,
        message: &mut Message,
        body: &[u8],
    ) -> Result<(), UpstreamFault> {
        let refused = |error: &(dyn std::error::Error + 'static)| UpstreamFault::Credentials {
            error: chain(error).into(),
        };
        let identity = self.credentials().await?.into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name("swf")
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| refused(&error))?
            .into();
        let headers = message.headers().iter();
        // As SDKs do: what the way to AWS may change is not signed.
        let signed = headers.filter(|(name, _)| ![CONTENT_LENGTH, USER_AGENT].contains(name));
        let signed = signed.filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
        let request = SignableRequest::new("POST", "/", signed, SignableBody::Bytes(body))
            .map_err(|error| refused(&error))?;
        let (instructions, _) = sign(request, &params)
            .map_err(|error| refused(&error))?
            .into_parts();
        instructions.apply_to_request_http1x(message);
        Ok(())
    }

    async fn credentials(self: &Arc<Self>) -> Result<Credentials, UpstreamFault> {
        if let Some(held) = self.held.load().as_deref() {
            if Instant::now() < held.again {
                return held.answer();
            }
            if let Ok(credentials) = &held.credentials
                && holds(credentials, SystemTime::now())
            {
                let own = Arc::clone(self);
                tokio::spawn(async move {
                    if let Ok(asking) = own.asking.try_lock() {
                        own.ask(asking).await;
                    }
                });
                return Ok(credentials.clone());
            }
        }
        let asking = self.asking.lock().await;
        // Whoever had it before may have asked already.
        if let Some(held) = self.held.load().as_deref()
            && Instant::now() < held.again
        {
            return held.answer();
        }
        self.ask(asking).await.answer()
    }

    async fn ask(&self, _asking: MutexGuard<'_, ()>) -> Arc<Held> {
        let answer = self.provider.provide_credentials().await;
        let now = SystemTime::now();
        let held = match answer {
            Ok(credentials) => Held {
                again: Instant::now() + before_expiry(&credentials, now),
                credentials: Ok(credentials),
            },
            Err(error) => {
                let error = chain(&error);
                tracing::warn!(error, "no credentials for the upstream");
                let old = self.held.load_full();
                let old = old.and_then(|held| held.credentials.clone().ok());
                Held {
                    again: Instant::now() + PAUSE,
                    credentials: old
                        .filter(|credentials| holds(credentials, now + PAUSE))
                        .ok_or_else(|| error.into()),
                }
            }
        };
        let held = Arc::new(held);
        self.held.store(Some(Arc::clone(&held)));
        held
    }
}

impl Held {
    fn answer(&self) -> Result<Credentials, UpstreamFault> {
        self.credentials
            .clone()
            .map_err(|error| UpstreamFault::Credentials { error })
    }
}

fn holds(credentials: &Credentials, now: SystemTime) -> bool {
    credentials.expiry().is_none_or(|expiry| now < expiry)
}

/// How long credentials are used before others are asked for.
fn before_expiry(credentials: &Credentials, now: SystemTime) -> Duration {
    let Some(expiry) = credentials.expiry() else {
        return FOREVER;
    };
    let left = expiry.duration_since(now).unwrap_or_default();
    left.saturating_sub(EARLY).max(PAUSE.min(left))
}

/// How long before credentials expire others are asked for. The instance's metadata has new ones five minutes before
/// (Amazon EC2 User Guide, "Retrieve security credentials from instance metadata").
const EARLY: Duration = Duration::from_mins(4);
/// Between two attempts that fail.
const PAUSE: Duration = Duration::from_secs(1);
/// For credentials that do not expire: a profile that was written anew is read after a while.
const FOREVER: Duration = Duration::from_mins(15);

#[cfg(test)]
mod tests;
