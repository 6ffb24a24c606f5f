//! The Hub as this process sees it: where it is, where files are kept, who asks.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use crate::{
    error::{HubError, Result},
    http::{Agents, Http, Subject, origin, shown},
    progress::{Progress, Silent, TerminalProgress},
    settings::Settings,
    token::Token,
};

/// The Hub itself.
const ENDPOINT: &str = "https://huggingface.co";

/// How long is waited for a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Until there is a connection.
    pub connect: Duration,
    /// From the request until the head of the answer is there.
    pub first_byte: Duration,
    /// Between two parts of an answer.
    pub stall: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: Duration::from_secs(10), first_byte: Duration::from_secs(30), stall: Duration::from_secs(30) }
    }
}

/// Where the Hub is, where its files are kept, and who asks for them. Cloning is cheap.
#[derive(Clone)]
pub struct Hub(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    endpoint: String,
    cache_dir: PathBuf,
    token: Option<Token>,
    offline: bool,
    progress: Arc<dyn Progress>,
    timeouts: Timeouts,
    proxy: Option<ureq::Proxy>,
    agents: Agents,
    sleep: Arc<dyn Fn(Duration) + Send + Sync>,
    /// A file of the settings that cannot be read; told when it matters.
    unreadable: Option<(PathBuf, String)>,
}

/// <https://huggingface.co> with the cache in the home folder, where Python has it, without a token.
impl Default for Hub {
    fn default() -> Self {
        let timeouts = Timeouts::default();
        Self(Arc::new(Inner {
            endpoint: ENDPOINT.into(),
            cache_dir: Settings::read(|_| None).cache_dir,
            token: None,
            offline: false,
            progress: Arc::new(Silent),
            timeouts,
            proxy: None,
            agents: agents(timeouts, None),
            sleep: Arc::new(std::thread::sleep),
            unreadable: None,
        }))
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub")
            .field("endpoint", &shown(&self.0.endpoint))
            .field("cache_dir", &self.0.cache_dir)
            .field("token", &self.0.token)
            .field("offline", &self.0.offline)
            .finish_non_exhaustive()
    }
}

impl Hub {
    /// As the environment of this process says: `HF_ENDPOINT`, `HF_TOKEN`, `HF_HOME`, `HF_HUB_CACHE`, `HF_HUB_OFFLINE`
    /// and the like ([`Settings`]), and the proxies that are set; with a bar on the terminal. For programs: a library
    /// takes a hub as an argument.
    ///
    /// Where the endpoint is on the internet, it leads to no host of a private network; behind a proxy, which resolves
    /// names itself, that is the proxy's to see to.
    pub fn from_env() -> Self {
        let settings = Settings::read(|name| std::env::var(name).ok());
        let mut hub = Self::default().with_settings(&settings);
        hub.edit(|inner| inner.proxy = ureq::Proxy::try_from_env());
        hub
    }

    /// The same with settings that were read from an environment.
    #[must_use]
    pub fn with_settings(mut self, settings: &Settings) -> Self {
        self.edit(|inner| {
            inner.endpoint = settings.endpoint.clone().unwrap_or_else(|| ENDPOINT.into()).trim_end_matches('/').into();
            inner.cache_dir.clone_from(&settings.cache_dir);
            inner.token.clone_from(&settings.token);
            inner.offline = settings.offline;
            inner.unreadable.clone_from(&settings.unreadable);
            if settings.progress_bars {
                inner.progress = Arc::new(TerminalProgress::default());
            }
        });
        self
    }

    /// Another cache folder.
    #[must_use]
    pub fn with_cache_dir(mut self, cache_dir: impl Into<PathBuf>) -> Self {
        self.edit(|inner| inner.cache_dir = cache_dir.into());
        self
    }

    /// Another Hub: a mirror, or one on this machine.
    #[must_use]
    pub fn with_endpoint(mut self, endpoint: &str) -> Self {
        self.edit(|inner| inner.endpoint = endpoint.trim_end_matches('/').into());
        self
    }

    /// Who asks; an empty token is none.
    #[must_use]
    pub fn with_token(mut self, token: Option<Token>) -> Self {
        self.edit(|inner| {
            inner.token = token.filter(|token| !token.secret().is_empty());
            inner.unreadable = None;
        });
        self
    }

    /// Whether nothing but the cache may be asked.
    #[must_use]
    pub fn offline(mut self, offline: bool) -> Self {
        self.edit(|inner| inner.offline = offline);
        self
    }

    /// Who is told how far work is.
    #[must_use]
    pub fn with_progress(mut self, progress: Arc<dyn Progress>) -> Self {
        self.edit(|inner| inner.progress = progress);
        self
    }

    /// How long is waited for a server.
    #[must_use]
    pub fn with_timeouts(mut self, timeouts: Timeouts) -> Self {
        self.edit(|inner| inner.timeouts = timeouts);
        self
    }

    /// How to wait between two tries, in place of sleeping.
    #[must_use]
    pub fn with_sleep(mut self, sleep: Arc<dyn Fn(Duration) + Send + Sync>) -> Self {
        self.edit(|inner| inner.sleep = sleep);
        self
    }

    /// Where the Hub is, without a slash at the end.
    pub fn endpoint(&self) -> &str {
        &self.0.endpoint
    }

    /// The folder that files are kept in.
    pub fn cache_dir(&self) -> &Path {
        &self.0.cache_dir
    }

    /// Who asks.
    pub fn token(&self) -> Option<&Token> {
        self.0.token.as_ref()
    }

    /// Whether nothing but the cache may be asked.
    pub fn is_offline(&self) -> bool {
        self.0.offline
    }

    /// Who is told how far work is.
    pub fn progress(&self) -> &dyn Progress {
        self.0.progress.as_ref()
    }

    /// Requests of any kind.
    pub fn http(&self) -> Http<'_> {
        Http::new(self)
    }

    pub(crate) fn timeouts(&self) -> Timeouts {
        self.0.timeouts
    }

    pub(crate) fn agents(&self) -> &Agents {
        &self.0.agents
    }

    pub(crate) fn sleep(&self, wait: Duration) {
        (self.0.sleep)(wait);
    }

    /// Whether an address is the endpoint's, so that the token may go there.
    pub(crate) fn is_endpoint(&self, url: &str) -> bool {
        origin(url).is_some_and(|there| Some(there) == origin(&self.0.endpoint))
    }

    /// Whether a request can be made at all.
    pub(crate) fn check_usable(&self, subject: Subject<'_>) -> Result<()> {
        let bad = |name: &str, reason: String| Err(HubError::BadSetting { name: name.into(), reason });
        if self.0.offline {
            return bad(&subject.to_string(), "the Hub must be asked for this, and HF_HUB_OFFLINE is set".into());
        }
        if origin(&self.0.endpoint).is_none() || self.0.endpoint.contains(['?', '#']) {
            let shown = shown(&self.0.endpoint);
            return bad("HF_ENDPOINT", format!("{shown:?} is not http:// or https:// with a host, and nothing else"));
        }
        if self.0.token.as_ref().is_some_and(|token| !token.is_sound()) {
            return bad("HF_TOKEN", "it has characters that no token has".into());
        }
        match &self.0.unreadable {
            Some((path, reason)) => Err(HubError::io(path, format!("the token cannot be read: {reason}"))),
            None => Ok(()),
        }
    }

    fn edit(&mut self, change: impl FnOnce(&mut Inner)) {
        let inner = Arc::make_mut(&mut self.0);
        change(inner);
        inner.agents = agents(inner.timeouts, inner.proxy.clone());
    }
}

/// Redirects and statuses are this crate's to judge.
fn agents(timeouts: Timeouts, proxy: Option<ureq::Proxy>) -> Agents {
    let config = ureq::Agent::config_builder()
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .proxy(proxy)
        .user_agent(concat!("cogview4/", env!("CARGO_PKG_VERSION")))
        .timeout_connect(Some(timeouts.connect))
        .timeout_recv_response(Some(timeouts.first_byte))
        .timeout_per_read(Some(timeouts.stall))
        .timeout_per_write(Some(timeouts.stall))
        .build();
    Agents::new(&config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hub_shows_no_token() {
        let hub = Hub::default().with_token(Some(Token::new("hf_secret"))).with_endpoint("https://u:p@hub.org/");
        let shown = format!("{hub:?}");
        assert!(!shown.contains("hf_secret") && !shown.contains("u:p") && shown.contains("***"), "{shown}");
        let error = hub.http().get_json("/api/whoami-v2", Subject::Other("whoami")).expect_err("a user in it");
        assert!(error.to_string().starts_with("HF_ENDPOINT: "), "{error}");
    }

    #[test]
    fn what_cannot_be_used_is_said_before_anything_is_sent() {
        let asked = |hub: Hub| hub.http().get_json("/x", Subject::Other("whoami")).expect_err("refused").to_string();
        for endpoint in ["", "huggingface.co", "ftp://hub.org", "https://hub.org?x=1"] {
            assert!(asked(Hub::default().with_endpoint(endpoint)).starts_with("HF_ENDPOINT: "), "{endpoint}");
        }
        let token = Hub::default().with_token(Some(Token::new("hf_\u{e4}secret")));
        assert_eq!(asked(token), "HF_TOKEN: it has characters that no token has");
        assert!(asked(Hub::default().offline(true)).contains("HF_HUB_OFFLINE"));
    }
}
