//! Whose token it is, and whether a name can be pushed to with it.

use serde_json::Value;

use crate::{
    error::{HubError, Result},
    http::{Subject, shown},
    hub::Hub,
    repo::RepoId,
};

impl Hub {
    /// The full name of a repository to push to: a name without an owner gets that of the token's user. Asks the Hub,
    /// so that a token that is none, or may not write there, is known before any work.
    ///
    /// # Errors
    /// A name that the Hub does not take, no token, a wrong one, or one that may not write to the owner's repositories.
    pub fn resolve_id(&self, name: &str) -> Result<RepoId> {
        let given: Option<RepoId> = match name.contains('/') {
            true => Some(name.parse()?),
            false => None,
        };
        if given.is_none()
            && let Err(HubError::BadName { reason, .. }) = format!("owner/{name}").parse::<RepoId>()
        {
            return Err(HubError::BadName { name: crate::repo::shown_name(name), reason });
        }
        let subject = Subject::Other("whoami");
        self.check_usable(subject)?;
        self.check_token()?;
        let account = self.http().get_json("/api/whoami-v2", subject)?;
        let Some(user) = account["name"].as_str() else {
            let reason = "it does not say whose token this is".into();
            return Err(HubError::NotAHub { what: "whoami".into(), host: shown(self.endpoint()), reason });
        };
        let id = given.map_or_else(|| format!("{user}/{name}").parse(), Ok)?;
        match refusal(&account, user, &id) {
            Some(reason) => Err(HubError::Forbidden { what: id.to_string(), reason }),
            None => Ok(id),
        }
    }

    /// Pushing needs a token.
    pub(super) fn check_token(&self) -> Result<()> {
        match self.token() {
            Some(_) => Ok(()),
            None => Err(HubError::NoToken { endpoint: shown(self.endpoint()) }),
        }
    }
}

/// Why a token cannot push to a name, as far as its account tells: what one of fine grain may do is not said there.
fn refusal(account: &Value, user: &str, id: &RepoId) -> Option<String> {
    match account["auth"]["accessToken"]["role"].as_str()? {
        "read" => Some("this token may only read: set HF_TOKEN to one that may write".into()),
        "write" => {
            let organisations = account["orgs"].as_array().into_iter().flatten().filter_map(|org| org["name"].as_str());
            let is_own = std::iter::once(user).chain(organisations).any(|own| own.eq_ignore_ascii_case(id.owner()));
            (!is_own).then(|| {
                let user = crate::repo::shown_name(user);
                format!("{} is neither the token's user {user} nor one of its organisations", id.owner())
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_of_others_are_refused_where_the_account_tells() {
        let account = |role: &str| json!({"orgs": [{"name": "Testers"}], "auth": {"accessToken": {"role": role}}});
        for (role, id, good) in [
            ("write", "tester/a", true),
            ("write", "testers/a", true),
            ("write", "other/a", false),
            ("read", "tester/a", false),
            ("fineGrained", "other/a", true),
        ] {
            let refused = refusal(&account(role), "tester", &id.parse().expect("a name"));
            assert_eq!(refused.is_none(), good, "{role} {id}: {refused:?}");
        }
        assert_eq!(refusal(&json!({}), "tester", &"other/a".parse().expect("a name")), None);
    }
}
