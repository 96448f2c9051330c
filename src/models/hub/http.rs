//! One request to the hub: redirects, the token, time-outs, and repeating what may succeed later.

use std::{
    thread,
    time::{Duration, SystemTime},
};

use ureq::{
    Agent, Body,
    http::{HeaderMap, Response, Uri, header},
};

use super::{Event, HubError, Settings, Watch};

/// Redirects followed before a request is given up; the hub needs two.
const MAX_REDIRECTS: usize = 8;

/// Speaks to the hub.
pub(super) struct Client<'a> {
    agent: Agent,
    pub(super) settings: &'a Settings,
}

/// A response with status 200 or 206.
pub(super) struct Answer {
    /// Headers of the hub itself, before it redirected.
    pub(super) hub: HeaderMap,
    /// The last response.
    pub(super) response: Response<Body>,
}

/// The rest of a file that has partly arrived.
pub(super) struct Rest {
    /// Bytes that are there.
    pub(super) from: u64,
    /// The `ETag` they came with.
    pub(super) validator: String,
}

impl<'a> Client<'a> {
    /// Opens nothing yet; a connection is made with the first request.
    pub(super) fn new(settings: &'a Settings) -> Self {
        let wait = Some(settings.timeout);
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(concat!("medharness/", env!("CARGO_PKG_VERSION")))
            .timeout_resolve(wait)
            .timeout_connect(wait)
            .timeout_recv_response(wait)
            .timeout_per_read(wait);
        // What is served by this very machine is not asked for elsewhere.
        let near = origin(&settings.endpoint).is_some_and(|(_, host, _)| is_loopback(&host));
        let config = if near { config.proxy(None) } else { config };
        Self { agent: config.build().new_agent(), settings }
    }

    /// Asks for `url`, or for the rest of it, following redirects; no repetition.
    ///
    /// The token goes to the endpoint's own origin only. Another host gets the request without it.
    pub(super) fn get(&self, url: &str, rest: Option<&Rest>) -> Result<Answer, Failure> {
        self.request(url, rest, false)
    }

    /// Asks for the headers of `url`; a redirect to another host is not followed.
    pub(super) fn head(&self, url: &str) -> Result<HeaderMap, Failure> {
        Ok(self.request(url, None, true)?.hub)
    }

    fn request(&self, url: &str, rest: Option<&Rest>, head: bool) -> Result<Answer, Failure> {
        let mut target = url.to_owned();
        let mut hub: Option<HeaderMap> = None;
        for _ in 0..=MAX_REDIRECTS {
            let own = same_origin(&target, &self.settings.endpoint);
            let token = self.settings.token.as_ref().filter(|_| own);
            let mut request = if head { self.agent.head(&target) } else { self.agent.get(&target) };
            request = request.header(header::ACCEPT_ENCODING, "identity");
            if let Some(token) = token {
                request = request.header(header::AUTHORIZATION, token.header());
            }
            if let Some(rest) = rest {
                request = request
                    .header(header::RANGE, format!("bytes={}-", rest.from))
                    .header(header::IF_RANGE, &rest.validator);
            }
            let response = request.call().map_err(|source| HubError::Network {
                url: shown(&target),
                source: Box::new(source),
            })?;
            let status = response.status().as_u16();
            if own {
                // The last answer of the hub itself describes the file.
                hub = Some(response.headers().clone());
            }
            if !matches!(status, 301 | 302 | 303 | 307 | 308) {
                if status == 200 || (status == 206 && rest.is_some()) {
                    return Ok(Answer { hub: hub.unwrap_or_default(), response });
                }
                return Err(Failure {
                    error: refusal(shown(&target), status, token.is_some()),
                    again: matches!(status, 408 | 429 | 500 | 502..=504)
                        .then(|| retry_after(response.headers())),
                    progress: false,
                });
            }
            let next = text(response.headers(), "location")
                .and_then(|location| resolved(&target, location))
                .ok_or_else(|| HubError::Redirect { url: shown(&target), problem: "nowhere" })?;
            if target.starts_with("https://") && !next.starts_with("https://") {
                let problem = "from https to http, where anyone could read along";
                return Err(HubError::Redirect { url: shown(&target), problem }.into());
            }
            if head && !same_origin(&next, &self.settings.endpoint) {
                return Ok(Answer { hub: hub.unwrap_or_default(), response });
            }
            target = next;
        }
        Err(HubError::Redirect { url: shown(url), problem: "too often" }.into())
    }

    /// Runs `attempt` again after a pause for as long as that may help.
    ///
    /// The server's `Retry-After` counts, up to [`Settings::longest_pause`]. An attempt that made
    /// `progress` since the last failure starts the count anew.
    pub(super) fn patiently<T>(
        &self,
        watch: Watch<'_>,
        mut attempt: impl FnMut(Watch<'_>) -> Result<T, Failure>,
    ) -> Result<T, HubError> {
        let mut failures = 0;
        loop {
            let Failure { error, again, progress } = match attempt(&mut *watch) {
                Ok(done) => return Ok(done),
                Err(failure) => failure,
            };
            failures = if progress { 1 } else { failures + 1 };
            let Some(asked) = again.filter(|_| failures <= self.settings.retries) else {
                return Err(error);
            };
            let doubled = self.settings.pause.saturating_mul(1 << (failures - 1).min(16));
            let pause = asked.unwrap_or(doubled.min(self.settings.longest_pause));
            if pause > self.settings.longest_pause {
                return Err(match error {
                    HubError::Status { url, .. } => HubError::Wait { url, wait_s: pause.as_secs() },
                    other => other,
                });
            }
            watch(Event::Again { error: &error, pause });
            thread::sleep(pause);
        }
    }
}

/// A failed attempt.
pub(super) struct Failure {
    pub(super) error: HubError,
    /// Whether to try again, and after which pause if the server says so.
    again: Option<Option<Duration>>,
    /// Whether something arrived before.
    progress: bool,
}

impl Failure {
    /// Says whether something arrived before.
    pub(super) fn after(self, progress: bool) -> Self {
        Self { progress, ..self }
    }
}

impl From<HubError> for Failure {
    fn from(error: HubError) -> Self {
        let again = match &error {
            HubError::Network { source, .. } if passing(source) => Some(None),
            HubError::Truncated { .. } => Some(None),
            _ => None,
        };
        Self { error, again, progress: false }
    }
}

/// Returns whether an error of the connection may pass.
fn passing(error: &ureq::Error) -> bool {
    matches!(
        error,
        ureq::Error::Io(_)
            | ureq::Error::Timeout(_)
            | ureq::Error::ConnectionFailed
            | ureq::Error::Protocol(_)
    )
}

fn refusal(url: String, status: u16, with_token: bool) -> HubError {
    match status {
        401 | 403 => HubError::Refused { url, status, with_token },
        404 => HubError::NotFound { url },
        _ => HubError::Status { url, status },
    }
}

/// Returns how long the server asks to wait: a number of seconds, or a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let asked = text(headers, "retry-after")?.trim();
    if let Ok(seconds) = asked.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(asked).ok()?;
    let since = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).ok();
    Some(since(date.timestamp().into())?.saturating_sub(since(SystemTime::now())?))
}

/// Returns a header as text, `None` if it is missing or not ASCII.
pub(super) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Returns a URL without what may be secret in it.
pub(super) fn shown(url: &str) -> String {
    url.split(['?', '#']).next().unwrap_or_default().to_owned()
}

/// Scheme, host and port of a URL, as the client itself understands it.
fn origin(url: &str) -> Option<(String, String, u16)> {
    let uri: Uri = url.parse().ok()?;
    let scheme = uri.scheme_str()?.to_ascii_lowercase();
    let default = match &*scheme {
        "https" => 443,
        "http" => 80,
        _ => return None,
    };
    Some((scheme, uri.host()?.to_ascii_lowercase(), uri.port_u16().unwrap_or(default)))
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

fn same_origin(a: &str, b: &str) -> bool {
    origin(a).is_some_and(|a| Some(a) == origin(b))
}

/// Returns where a `Location` leads from `base`.
fn resolved(base: &str, location: &str) -> Option<String> {
    let absolute = if location.contains("://") {
        location.to_owned()
    } else {
        let (scheme, rest) = base.split_once("://")?;
        let path_at = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(path_at);
        if location.starts_with("//") {
            format!("{scheme}:{location}")
        } else if location.starts_with('/') {
            format!("{scheme}://{authority}{location}")
        } else {
            let path = path.split(['?', '#']).next().unwrap_or_default();
            let folder = path.rfind('/').map_or("", |at| &path[..at]);
            format!("{scheme}://{authority}{folder}/{location}")
        }
    };
    origin(&absolute).map(|_| absolute)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_endpoint_itself_is_the_endpoint() {
        let own = |url| same_origin(url, "https://huggingface.co");
        assert!(own("https://huggingface.co/a/b?c"));
        assert!(own("HTTPS://HuggingFace.co:443/a"));
        for url in [
            "http://huggingface.co/a",
            "https://huggingface.co:444/a",
            "https://huggingface.co.evil.example/a",
            "https://huggingface.co@evil.example/a",
            "https://evil.example/huggingface.co",
            "https://evil.example\\@huggingface.co/",
            "https://cdn-lfs.huggingface.co/a",
            "ftp://huggingface.co/a",
            "huggingface.co",
            "",
        ] {
            assert!(!own(url), "{url}");
        }
    }

    #[test]
    fn redirects_resolve_as_in_a_browser() {
        let from = |location| resolved("http://h:1/a/b?q=1", location);
        assert_eq!(from("https://c/d").as_deref(), Some("https://c/d"));
        assert_eq!(from("/c").as_deref(), Some("http://h:1/c"));
        assert_eq!(from("c").as_deref(), Some("http://h:1/a/c"));
        assert_eq!(from("//c/d").as_deref(), Some("http://c/d"));
        assert_eq!(from("file:///etc/passwd"), None);
        assert_eq!(from("a b"), None);
    }

    #[test]
    fn a_wait_is_seconds_or_a_date() {
        let wait = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("retry-after", value.parse().unwrap());
            retry_after(&headers)
        };
        assert_eq!(wait("7"), Some(Duration::from_secs(7)));
        assert_eq!(wait("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        assert_eq!(wait("soon"), None);
    }

    #[test]
    fn secrets_of_a_signed_link_are_not_shown() {
        assert_eq!(shown("https://cdn/x?Signature=s#t"), "https://cdn/x");
    }
}
