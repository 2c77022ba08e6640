//! Why the head of a request is refused, and with which status.

use hyper::StatusCode;
use thiserror::Error;

use crate::listener::limits::{BODY, FIELDS, HEAD};

/// Why the head of a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum HeadFault {
    /// The target is a URI with a scheme, as for proxies (RFC 9112, 3.2.2).
    #[error("the target is in absolute form")]
    AbsoluteTarget,
    /// The target is `*` (RFC 9112, 3.2.4).
    #[error("the target is in asterisk form")]
    AsteriskTarget,
    /// The target is in authority form, or in none (RFC 9112, 3.2.3).
    #[error("the target does not begin with `/`")]
    AuthorityTarget,
    /// A line ends without CR (RFC 9112, 2.2 lets a recipient take that).
    #[error("a line ends with LF alone")]
    BareFeed,
    /// CR without LF (RFC 9112, 2.2).
    #[error("there is a CR without LF")]
    BareReturn,
    /// The body is larger than what SWF takes (RFC 9110, 15.5.14).
    #[error("the body has more than {BODY} bytes")]
    BodyTooLarge,
    /// CONNECT asks for a tunnel (RFC 9110, 9.3.6).
    #[error("the method is CONNECT")]
    Connect,
    /// A field is bound to the connection that is none of ours (RFC 9110, 7.6.1).
    #[error("Connection has an option other than `close` and `keep-alive`")]
    ConnectionOption,
    /// Content-Length is no number in plain digits (RFC 9110, 8.6).
    #[error("Content-Length is not in plain digits")]
    ContentLength,
    /// Content-Length is there twice, even if both say the same (RFC 9112, 6.3 lets a recipient take that).
    #[error("Content-Length is there more than once")]
    ContentLengthTwice,
    /// A field's value has NUL or another control byte (RFC 9110, 5.5).
    #[error("a field has a control byte")]
    ControlByte,
    /// An empty line comes before the request line (RFC 9112, 2.2 would have servers ignore it).
    #[error("there is an empty line before the request line")]
    EmptyLine,
    /// Something else than 100-continue is expected (RFC 9110, 10.1.1).
    #[error("Expect is not one `100-continue`")]
    Expect,
    /// A field's name is no token (RFC 9110, 5.1).
    #[error("a field's name is no token")]
    FieldName,
    /// A line begins with white space (RFC 9112, 5.2, and 2.2 for the first).
    #[error("a field's line is folded")]
    Fold,
    /// The head is too long (RFC 6585, 5).
    #[error("the head has more than {HEAD} bytes")]
    HeadTooLong,
    /// Host is neither a name nor an address, with or without a port (RFC 9110, 7.2).
    #[error("Host is neither a name nor an address")]
    Host,
    /// There is no Host (RFC 9112, 3.2).
    #[error("there is no Host")]
    HostAbsent,
    /// Host is there twice (RFC 9112, 3.2).
    #[error("Host is there more than once")]
    HostTwice,
    /// The method is no token (RFC 9110, 9.1).
    #[error("the method is no token")]
    Method,
    /// A field's line has no colon (RFC 9112, 5).
    #[error("a field has no colon")]
    NoColon,
    /// A field's value has bytes above 127, which nobody reads alike (RFC 9110, 5.5 calls them opaque).
    #[error("a field has a byte that is not ASCII")]
    NonAscii,
    /// The first line is not a method, a target and a version with one space between them (RFC 9112, 3).
    #[error("the request line is not as it has to be")]
    RequestLine,
    /// White space stands between a field's name and the colon (RFC 9112, 5.1).
    #[error("there is white space before a colon")]
    SpaceBeforeColon,
    /// The target has a byte that no path or query has (RFC 3986, 3.3 and 3.4).
    #[error("the target has a byte that has to be encoded, or `%` without two digits")]
    TargetByte,
    /// The request line does not end within what a head may have (RFC 9112, 3).
    #[error("the target has more than {HEAD} bytes")]
    TargetTooLong,
    /// TE, which is for a transfer coding (RFC 9110, 10.1.4).
    #[error("there is a TE field")]
    Te,
    /// There are too many fields (RFC 6585, 5).
    #[error("there are more than {FIELDS} fields")]
    TooManyFields,
    /// A transfer coding, of whichever name and place (RFC 9112, 6.1).
    #[error("there is a transfer coding")]
    TransferEncoding,
    /// The server saw a head that the guard did not.
    #[error("a head was not looked at")]
    Unseen,
    /// Another protocol is asked for (RFC 9110, 7.8).
    #[error("there is an Upgrade field")]
    Upgrade,
    /// The version is not HTTP/1.1 (RFC 9110, 15.6.6).
    #[error("the version is not HTTP/1.1")]
    Version,
}

impl HeadFault {
    /// The status to answer with. The connection ends with that answer.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::AbsoluteTarget
            | Self::AsteriskTarget
            | Self::AuthorityTarget
            | Self::BareFeed
            | Self::BareReturn
            | Self::Connect
            | Self::ConnectionOption
            | Self::ContentLength
            | Self::ContentLengthTwice
            | Self::ControlByte
            | Self::EmptyLine
            | Self::FieldName
            | Self::Fold
            | Self::Host
            | Self::HostAbsent
            | Self::HostTwice
            | Self::Method
            | Self::NoColon
            | Self::NonAscii
            | Self::RequestLine
            | Self::SpaceBeforeColon
            | Self::TargetByte
            | Self::Te
            | Self::Unseen
            | Self::Upgrade => StatusCode::BAD_REQUEST,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::Expect => StatusCode::EXPECTATION_FAILED,
            Self::HeadTooLong | Self::TooManyFields => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::TransferEncoding => StatusCode::NOT_IMPLEMENTED,
            Self::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
        }
    }
}
