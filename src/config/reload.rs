//! Reloads: which keys of a new configuration apply without a restart.

use super::settings::{Admin, Config, KEYS, Scope};

/// The outcome of a reload.
#[derive(Clone, Debug, PartialEq)]
pub struct Reloaded {
    /// The configuration from now on.
    pub config: Config,
    /// The keys whose values have changed.
    pub changed: Vec<&'static str>,
    /// The keys whose new values need a restart; until then the old ones apply.
    pub pending: Vec<&'static str>,
}

impl Config {
    /// Applies the keys of `written` that need no restart: `cache.mode`, `cache.ignore_set_cookie`,
    /// `server.trusted_proxies`, freshness, scopes, views and the admin token, which are read for every request
    /// or connection. Sockets, threads, memory and routes are built from the rest.
    pub fn reloaded(&self, written: &Self) -> Reloaded {
        let mut config = self.clone();
        config.cache.mode = written.cache.mode;
        config
            .cache
            .ignore_set_cookie
            .clone_from(&written.cache.ignore_set_cookie);
        config
            .server
            .trusted_proxies
            .clone_from(&written.server.trusted_proxies);
        config.freshness = written.freshness.clone();
        // The store is built with the hard limit.
        config.freshness.hard_limit = self.freshness.hard_limit;
        // Another key would hide what is stored, from purges too.
        config.scope = Scope {
            key_file: self.scope.key_file.clone(),
            key: self.scope.key.clone(),
            second_key: self.scope.second_key.clone(),
            ..written.scope.clone()
        };
        config.views = written.views.clone();
        config.admin = Admin {
            listen: self.admin.listen,
            ..written.admin.clone()
        };
        let mut changed = differences(self, &config);
        // The key names the same file, with another token in it.
        if self.admin.token_file == config.admin.token_file
            && self.admin.token != config.admin.token
        {
            changed.push("admin.token_file");
        }
        let mut pending = differences(&config, written);
        if config.scope.key_file == written.scope.key_file && config.scope != written.scope {
            pending.push("scope.key_file");
        }
        if config.shared.password_file == written.shared.password_file
            && config.shared.password != written.shared.password
        {
            pending.push("shared.password_file");
        }
        Reloaded {
            config,
            changed,
            pending,
        }
    }
}

/// The keys whose values differ.
fn differences(one: &Config, other: &Config) -> Vec<&'static str> {
    KEYS.iter()
        .filter(|key| (key.rendered)(one) != (key.rendered)(other))
        .map(|key| key.name)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{AddressRange, ByteSize, CacheMode, ScopeKey, ScopeMode, Secret};

    #[test]
    fn every_changed_key_is_applied_or_pending() {
        let old = Config::default();
        let mut written = old.clone();
        written.freshness.default = Duration::from_secs(1);
        written.freshness.hard_limit = Duration::from_secs(2);
        written
            .freshness
            .live
            .push(("notes".to_owned(), Duration::ZERO));
        written.scope.mode = ScopeMode::Named;
        written.scope.key = Some(ScopeKey::random());
        written.views.strip_option = "without".to_owned();
        written.cache.mode = CacheMode::Off;
        written.cache.capacity = ByteSize(1 << 30);
        written.server.trusted_proxies = vec![AddressRange::parse("::1").expect("an address")];
        written.admin.token = Some(Secret("rotated".to_owned().into()));
        let reloaded = old.reloaded(&written);
        assert_eq!(
            reloaded.changed,
            [
                "server.trusted_proxies",
                "cache.mode",
                "freshness.default",
                "freshness.live",
                "scope.mode",
                "views.strip_option",
                "admin.token_file"
            ]
        );
        assert_eq!(
            reloaded.pending,
            ["cache.capacity", "freshness.hard_limit", "scope.key_file"]
        );
        assert_eq!(reloaded.config.cache.mode, CacheMode::Off);
        assert_eq!(reloaded.config.cache.capacity, old.cache.capacity);
        assert_eq!(reloaded.config.scope.mode, written.scope.mode);
        assert_eq!(reloaded.config.scope.key, None);
        assert_eq!(reloaded.config.admin, written.admin);
        assert_eq!(old.reloaded(&old).changed, [""; 0]);
    }
}
