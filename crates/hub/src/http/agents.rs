//! Agents of ureq by who names the host. Whoever runs the program may name any; a server on the internet must not lead
//! into the network of this machine.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use ureq::{
    Agent,
    config::Config,
    http::Uri,
    unversioned::{
        resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver},
        transport::{DefaultConnector, NextTimeout},
    },
};

use super::private::is_private;

/// One agent for the address that was asked for, and one for those that servers name: redirects, places for uploads.
/// The second reaches private networks only where the first address is in one itself.
///
/// Addresses are looked at when they are resolved, right before they are connected to, so that no name can stand for
/// another address in between. A proxy resolves names itself: behind one, servers lead wherever the proxy goes, but for
/// the hosts that `NO_PROXY` keeps from it.
#[derive(Debug, Clone)]
pub struct Agents {
    asked_for: Agent,
    named: Agent,
}

impl Agents {
    /// Agents with a configuration, in which following redirects is left to the caller.
    pub fn new(config: &Config) -> Self {
        let is_home_private = Arc::new(AtomicBool::new(false));
        let agent = |is_home: bool| {
            let resolver =
                Guard { is_home, is_home_private: is_home_private.clone(), inner: DefaultResolver::default() };
            Agent::with_parts(config.clone(), DefaultConnector::default(), resolver)
        };
        Self { asked_for: agent(true), named: agent(false) }
    }

    /// For the address that was asked for.
    pub fn asked_for(&self) -> &Agent {
        &self.asked_for
    }

    /// For an address that a server names.
    pub fn named(&self) -> &Agent {
        &self.named
    }
}

/// Resolves names as ureq does, and refuses what leads into a private network.
#[derive(Debug)]
struct Guard {
    /// Whether hosts are those that were asked for.
    is_home: bool,
    /// Whether the host that was asked for is in a private network.
    is_home_private: Arc<AtomicBool>,
    inner: DefaultResolver,
}

impl Resolver for Guard {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = self.inner.resolve(uri, config, timeout)?;
        if config.proxy().is_some_and(|proxy| proxy.uri() == uri) {
            return Ok(found);
        }
        if self.is_home {
            // One public address will do to make it a stranger, as he who names it chooses what else there is.
            if found.iter().all(|address| is_private(address.ip())) {
                self.is_home_private.store(true, Ordering::Relaxed);
            }
            return Ok(found);
        }
        if self.is_home_private.load(Ordering::Relaxed) {
            return Ok(found);
        }
        let mut public = self.empty();
        found.iter().filter(|address| !is_private(address.ip())).for_each(|address| public.push(*address));
        match found.first() {
            Some(address) if public.is_empty() => Err(ureq::Error::Other(Box::new(Private(address.ip())))),
            _ => Ok(public),
        }
    }
}

/// Why a host is not asked.
#[derive(Debug, thiserror::Error)]
#[error("{0} is in a private network, and the address that was asked for is not")]
struct Private(IpAddr);

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader, Write},
        net::TcpListener,
    };

    use super::*;

    /// A server that answers all requests, and its address.
    fn server() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://127.0.0.1:{}/", listener.local_addr().expect("bound").port());
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                // The head comes in parts.
                let mut head = BufReader::new(&stream).lines();
                while head.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
                let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
            }
        });
        url
    }

    #[test]
    fn servers_lead_into_private_networks_only_from_there() {
        let url = server();
        let agents = Agents::new(&Agent::config_builder().proxy(None).build());
        for private in [&url, &url.replace("127.0.0.1", "localhost"), "http://[::ffff:127.0.0.1]/", "http://0x7f.1/"] {
            let error = agents.named().get(private).call().expect_err(private).to_string();
            assert!(error.contains("is in a private network"), "{private}: {error}");
        }
        assert_eq!(agents.asked_for().get(&url).call().expect("answered").status(), 204);
        assert_eq!(agents.named().get(&url).call().expect("now it is at home").status(), 204);
    }

    #[test]
    fn a_proxy_may_be_in_a_private_network() {
        let proxy = ureq::Proxy::new(&server()).expect("a proxy");
        let agents = Agents::new(&Agent::config_builder().proxy(Some(proxy)).build());
        // It is connected to, and does not answer as proxies do.
        for agent in [agents.named(), agents.asked_for(), agents.named()] {
            let error = agent.get("http://public.invalid/").call().expect_err("no proxy").to_string();
            assert!(error.contains("proxy server responded 204"), "{error}");
        }
    }

    #[test]
    fn a_proxy_in_a_private_network_does_not_open_it() {
        let url = server();
        let proxy = ureq::Proxy::builder(ureq::ProxyProtocol::Http).host("127.0.0.1").port(1).no_proxy("localhost");
        let agents = Agents::new(&Agent::config_builder().proxy(Some(proxy.build().expect("a proxy"))).build());
        agents.asked_for().get("http://public.invalid/").call().expect_err("nobody is there");
        let local = url.replace("127.0.0.1", "localhost");
        let error = agents.named().get(&local).call().expect_err("private").to_string();
        assert!(error.contains("is in a private network"), "{error}");
    }
}
