//! Everything that can be asked over the control socket: who may, what comes of it beside an answer, and how long a body may be.
//!
//! The server takes requests by this table and no other, and `docs/threat-model.md` has it, too. Whoever may connect may ask what has no
//! effect and tells nothing but what is in force. All else is for the *owners*: root, and the daemon's own user. What stands in files that are
//! not in force is theirs, too, since the daemon may read more than who asks.

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Route {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    /// What the query begins with, where that makes it another question.
    pub(super) query: Option<&'static str>,
    pub(super) endpoint: Endpoint,
    pub(super) who: Who,
    /// What comes of it beside an answer, in words.
    pub(super) effect: Option<&'static str>,
    pub(super) body: Body,
    pub(super) weight: Weight,
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    Apply,
    Attach,
    Busiest,
    Confirm,
    Detach,
    Diff,
    Events,
    Explain,
    Generations,
    History,
    Policy,
    Preview,
    Reload,
    Rollback,
    Rules,
    Settle,
    Status,
    Try,
}

/// Who may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// Whoever may connect.
    Anyone,
    /// Root and the daemon's own user; and what of it is for these alone.
    Owners(&'static str),
}

/// How long a body may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// None is read.
    None,
    /// One that holds the text of a policy.
    Policy,
    /// A few settings, or a frame.
    Small,
}

/// What an answer takes where the policy is large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weight {
    /// Much time or memory.
    Heavy,
    Light,
}

impl Body {
    /// Bytes at most.
    pub(super) const fn most(self) -> usize {
        match self {
            Self::None => 0,
            Self::Policy => 512 << 20,
            Self::Small => 256 << 10,
        }
    }
}

impl Route {
    /// The row for a request, if there is one.
    pub(super) fn of(method: &str, path: &str, query: Option<&str>) -> Option<&'static Self> {
        let query = query.unwrap_or_default();
        let is_asked = |route: &&Self| {
            let begins = |start| query.starts_with(start);
            method == route.method && path == route.path && route.query.is_none_or(begins)
        };
        ROUTES.iter().find(is_asked)
    }
}

const CHANGE: Who = Who::Owners("may change what is enforced");

/// All rows. Of rows with the same path, the one without a query comes last.
pub(super) const ROUTES: &[Route] = &[
    ask("/v1/status", Endpoint::Status),
    heavy(Route {
        query: Some("busiest="),
        ..ask("/v1/rules", Endpoint::Busiest)
    }),
    heavy(ask("/v1/rules", Endpoint::Rules)),
    ask("/v1/events", Endpoint::Events),
    ask("/v1/generations", Endpoint::Generations),
    heavy(ask("/v1/policy", Endpoint::Policy)),
    ask("/v1/history", Endpoint::History),
    heavy(Route {
        who: Who::Owners("may see what the files on disk would change"),
        ..ask("/v1/diff", Endpoint::Diff)
    }),
    Route {
        who: Who::Owners(
            "may have the attached program judge a frame, which counts it; `swf-filter explain` without `--live` judges by the files, and counts nothing",
        ),
        ..post(
            "/v1/explain",
            Endpoint::Explain,
            Body::Small,
            "counts the frame as a packet",
        )
    },
    Route {
        who: Who::Owners("may ask what a text would change"),
        effect: None,
        ..post("/v1/preview", Endpoint::Preview, Body::Policy, "")
    },
    post(
        "/v1/reload",
        Endpoint::Reload,
        Body::Small,
        "brings the policy files into force",
    ),
    post(
        "/v1/apply",
        Endpoint::Apply,
        Body::Policy,
        "brings a text into force",
    ),
    post(
        "/v1/try",
        Endpoint::Try,
        Body::Policy,
        "brings a text into force for some time",
    ),
    post(
        "/v1/confirm",
        Endpoint::Confirm,
        Body::None,
        "keeps what is on trial",
    ),
    post(
        "/v1/rollback",
        Endpoint::Rollback,
        Body::Small,
        "brings an earlier text into force",
    ),
    post(
        "/v1/settle",
        Endpoint::Settle,
        Body::None,
        "lets the policy files decide again",
    ),
    post(
        "/v1/attach",
        Endpoint::Attach,
        Body::Small,
        "puts the filter on interfaces",
    ),
    post(
        "/v1/detach",
        Endpoint::Detach,
        Body::Small,
        "takes the filter off interfaces",
    ),
];

/// A question without effect, for anyone.
const fn ask(path: &'static str, endpoint: Endpoint) -> Route {
    Route {
        method: "GET",
        path,
        query: None,
        endpoint,
        who: Who::Anyone,
        effect: None,
        body: Body::None,
        weight: Weight::Light,
    }
}

const fn heavy(route: Route) -> Route {
    Route {
        weight: Weight::Heavy,
        ..route
    }
}

/// A change, for owners.
const fn post(path: &'static str, endpoint: Endpoint, body: Body, effect: &'static str) -> Route {
    Route {
        method: "POST",
        path,
        query: None,
        endpoint,
        who: CHANGE,
        effect: Some(effect),
        body,
        weight: Weight::Light,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn size(body: Body) -> &'static str {
        match body {
            Body::None => "none",
            Body::Policy => "512 MiB",
            Body::Small => "256 KiB",
        }
    }

    #[test]
    fn what_has_an_effect_is_for_owners() {
        for route in ROUTES {
            let is_change = route.effect.is_some() || route.body != Body::None;
            assert!(!is_change || route.who != Who::Anyone, "{route:?}");
            assert_eq!(
                route.method == "GET",
                route.body == Body::None && route.effect.is_none(),
                "{route:?}"
            );
        }
    }

    #[test]
    fn each_row_is_found_by_its_request_and_nothing_else_is() {
        for route in ROUTES {
            let found = Route::of(route.method, route.path, route.query);
            assert_eq!(found.map(|found| found.endpoint), Some(route.endpoint));
        }
        for (method, path) in [
            ("POST", "/v1/status"),
            ("GET", "/v1/reload"),
            ("HEAD", "/v1/status"),
            ("GET", "/v1/status/"),
            ("GET", "/"),
        ] {
            assert!(Route::of(method, path, None).is_none(), "{method} {path}");
        }
    }

    #[test]
    fn the_threat_model_has_the_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/threat-model.md");
        let text = fs::read_to_string(path).unwrap();
        let rows = ROUTES.iter().map(|route| {
            let query = route
                .query
                .map_or_else(String::new, |query| format!("?{query}N"));
            let who = if route.who == Who::Anyone {
                "anyone"
            } else {
                "owners"
            };
            let effect = route.effect.unwrap_or("none");
            let (method, path, body) = (route.method, route.path, size(route.body));
            format!("| `{method} {path}{query}` | {who} | {effect} | {body} |\n")
        });
        let table: String = rows.collect();
        assert!(
            text.contains(&table),
            "docs/threat-model.md lacks:\n{table}"
        );
        for body in [Body::Policy, Body::Small] {
            let (number, unit) = size(body).split_once(' ').unwrap();
            let unit = if unit == "MiB" { 1 << 20 } else { 1 << 10 };
            assert_eq!(number.parse::<usize>().unwrap() * unit, body.most());
        }
    }
}
