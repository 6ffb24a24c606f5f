//! Pictures from URLs.

use std::{
    borrow::Cow,
    time::{Duration, Instant},
};

use cogview4_hub::http::{self, Agents, MAX_REDIRECTS, is_redirect, next_address};
use ureq::{Agent, Body, http::Response};

pub(super) use cogview4_hub::http::is_url;

/// Larger downloads are refused.
const MAX_DOWNLOAD_BYTES: u64 = 256 << 20;
/// A picture that is not there after this long, redirects included, is given up.
const DOWNLOAD_TIMEOUT: Duration = Duration::from_secs(60);

/// The content of a URL. Redirects never lead from https to http, nor from the internet into a private network; a proxy
/// of the environment resolves names itself, so what a redirect reaches through one is the proxy's to see to.
pub(super) fn download(url: &str) -> Result<Vec<u8>, String> {
    let end = Instant::now() + DOWNLOAD_TIMEOUT;
    let config = Agent::config_builder().max_redirects(0).max_redirects_will_error(false).build();
    let agents = Agents::new(&config);
    let (mut agent, mut at) = (agents.asked_for(), Cow::Borrowed(url));
    for redirects in 0..=MAX_REDIRECTS {
        let failed = |reason: String| match redirects {
            0 => reason,
            _ => format!("redirected to {}: {reason}", shown(&at)),
        };
        let mut response = get(agent, &at, end).map_err(|error| failed(reason(&error)))?;
        if !is_redirect(response.status().as_u16()) {
            let content = response.body_mut().with_config().limit(MAX_DOWNLOAD_BYTES).read_to_vec();
            return content.map_err(|error| failed(reason(&error)));
        }
        let next = next_address(&at, response.headers());
        let next = next.map_err(|reason| failed(format!("redirects {reason}")))?;
        (agent, at) = (agents.named(), next.into());
    }
    Err(format!("redirects more than {MAX_REDIRECTS} times"))
}

/// An answer that is a redirect or a success.
fn get(agent: &Agent, url: &str, end: Instant) -> Result<Response<Body>, ureq::Error> {
    let left = end.saturating_duration_since(Instant::now());
    let response = agent.get(url).config().timeout_global(Some(left)).build().call()?;
    let status = response.status();
    match status.is_success() || is_redirect(status.as_u16()) {
        true => Ok(response),
        false => Err(ureq::Error::StatusCode(status.as_u16())),
    }
}

/// What went wrong, without the URL, which some errors repeat.
fn reason(error: &ureq::Error) -> String {
    match error {
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => "not a valid address".into(),
        ureq::Error::Protocol(_) => "the answer is not HTTP".into(),
        ureq::Error::Other(refusal) => refusal.to_string(),
        other => other.to_string(),
    }
}

/// A location as it may be shown and kept: of a URL, user, password, query and fragment are cut, which may hold
/// secrets; a path stays as it is.
///
/// ```
/// use cogview4_control_pipeline::shown;
///
/// assert_eq!(shown("https://user:password@example.org/a.png?signature=1"), "https://example.org/a.png");
/// assert_eq!(shown("pictures/what?.png"), "pictures/what?.png");
/// ```
pub fn shown(location: &str) -> Cow<'_, str> {
    match is_url(location) {
        true => http::shown(location).into(),
        false => location.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_urls_are_not_shown() {
        for (url, expected) in [
            ("http://a.org", "http://a.org"),
            ("http://a.org?key=1", "http://a.org"),
            ("http://a:b@c@a.org:80/x@y.png#key", "http://a.org:80/x@y.png"),
            ("https://a.org/?u=http://b:c@d.org/", "https://a.org/"),
            ("HTTPS://a:b@c.org/?key=1", "HTTPS://c.org/"),
            ("a@b/c.png", "a@b/c.png"),
        ] {
            assert_eq!(shown(url), expected);
        }
    }
}
