//! Answers to polls, which are read for their task tokens as they pass.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use swf_filter_core::swf::TokenFinder;
use tracing::warn;

use super::answer::BodyError;
use super::shared::Shared;

/// The body of an answer to a poll. The domain of its token is known before the token has passed.
pub(super) struct Learning<B> {
    body: B,
    finder: TokenFinder,
    domain: Box<str>,
    shared: Arc<Shared>,
}

impl<B> Learning<B> {
    pub(super) fn new(body: B, shared: Arc<Shared>, domain: &str) -> Self {
        Self {
            body,
            finder: TokenFinder::default(),
            domain: domain.into(),
            shared,
        }
    }

    fn look(&mut self, piece: &[u8]) {
        if let Some(token) = self.finder.push(piece)
            && let Err(fault) = self.shared.tokens().learn(&token, &self.domain)
        {
            warn!("the domain of a task token cannot be learned: {fault}");
        }
    }
}

impl<B> Body for Learning<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BodyError>,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        polled.map(|next| {
            let next = next?.map_err(Into::into);
            if let Ok(frame) = &next
                && let Some(piece) = frame.data_ref()
            {
                self.look(piece);
            }
            Some(next)
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
