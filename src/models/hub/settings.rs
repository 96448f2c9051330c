//! What the environment says about the hub, with the names and defaults of huggingface_hub.

use std::{env, fmt, fs, path::PathBuf, time::Duration};

use super::HubError;

/// Where the hub is, where its cache lies, and how patient to be.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `HF_ENDPOINT`, without a slash at its end.
    pub endpoint: String,
    /// `HF_HUB_CACHE`, else `$HF_HOME/hub`.
    pub cache: PathBuf,
    /// `HF_TOKEN`, else the file `HF_TOKEN_PATH`, else `$HF_HOME/token`.
    pub token: Option<Token>,
    /// `HF_HUB_OFFLINE` or `TRANSFORMERS_OFFLINE`: no socket is opened.
    pub offline: bool,
    /// `HF_HUB_DOWNLOAD_TIMEOUT`: longest silence of the server.
    pub timeout: Duration,
    /// Times a request is repeated where that can help.
    pub retries: u32,
    /// Pause before the first repetition; doubled for each further one.
    pub pause: Duration,
    /// Longest pause, also if the server asks for more.
    pub longest_pause: Duration,
}

/// A token; never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Wraps a token.
    pub fn new(token: impl Into<String>) -> Self {
        Self(token.into())
    }

    pub(super) fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Settings {
    /// Reads the environment of the process.
    ///
    /// # Errors
    ///
    /// [`HubError::Setting`] if a variable is set to what cannot be used.
    pub fn from_env() -> Result<Self, HubError> {
        Self::from(|name| env::var_os(name).and_then(|value| value.into_string().ok()))
    }

    fn from(variable: impl Fn(&str) -> Option<String>) -> Result<Self, HubError> {
        let set = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let home = set("HF_HOME").map(PathBuf::from).or_else(|| {
            let cache = set("XDG_CACHE_HOME").map(PathBuf::from);
            Some(cache.or_else(|| Some(env::home_dir()?.join(".cache")))?.join("huggingface"))
        });
        let home = home.ok_or_else(|| HubError::Setting {
            name: "HF_HOME",
            problem: "it is not set, and there is no home folder".into(),
        })?;
        let endpoint = set("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".into());
        let endpoint = endpoint.trim().trim_end_matches('/').to_owned();
        if !(endpoint.starts_with("https://") || endpoint.starts_with("http://")) {
            let problem = format!("`{endpoint}` begins with neither https:// nor http://");
            return Err(HubError::Setting { name: "HF_ENDPOINT", problem });
        }
        let timeout = match set("HF_HUB_DOWNLOAD_TIMEOUT") {
            None => 10,
            Some(text) => {
                text.trim().parse().ok().filter(|&s| s > 0).ok_or_else(|| HubError::Setting {
                    name: "HF_HUB_DOWNLOAD_TIMEOUT",
                    problem: format!("`{text}` is no number of seconds"),
                })?
            }
        };
        let on = |name| set(name).is_some_and(|value| is_on(&value));
        let cache = set("HF_HUB_CACHE").or_else(|| set("HUGGINGFACE_HUB_CACHE")).map(PathBuf::from);
        let stored = || {
            let path = set("HF_TOKEN_PATH").map_or_else(|| home.join("token"), PathBuf::from);
            fs::read_to_string(path).ok()
        };
        // As in huggingface_hub, this also silences HF_TOKEN.
        let silent = on("HF_HUB_DISABLE_IMPLICIT_TOKEN");
        let token = set("HF_TOKEN")
            .or_else(stored)
            .filter(|_| !silent)
            .map(|token| token.trim().to_owned());
        let token = token.filter(|token| !token.is_empty());
        if token.as_ref().is_some_and(|token| !token.bytes().all(|b| b.is_ascii_graphic())) {
            let problem = "the token holds characters no token has".into();
            return Err(HubError::Setting { name: "HF_TOKEN", problem });
        }
        Ok(Self {
            endpoint,
            cache: cache.unwrap_or_else(|| home.join("hub")),
            token: token.map(Token),
            offline: on("HF_HUB_OFFLINE") || on("TRANSFORMERS_OFFLINE"),
            timeout: Duration::from_secs(timeout),
            retries: 5,
            pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(120),
        })
    }
}

/// The spellings of yes that huggingface_hub knows.
fn is_on(value: &str) -> bool {
    matches!(value.trim().to_ascii_uppercase().as_str(), "1" | "ON" | "YES" | "TRUE")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(pairs: &[(&str, &str)]) -> Result<Settings, HubError> {
        Settings::from(|name| {
            pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn defaults_are_those_of_huggingface_hub() {
        let settings = from(&[("XDG_CACHE_HOME", "/c")]).unwrap();
        assert_eq!(settings.endpoint, "https://huggingface.co");
        assert_eq!(settings.cache, PathBuf::from("/c/huggingface/hub"));
        assert_eq!((settings.token, settings.offline), (None, false));
        assert_eq!(settings.timeout, Duration::from_secs(10));
    }

    #[test]
    fn every_variable_is_read() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("token"), " hf_stored\n").unwrap();
        let home = folder.path().to_str().unwrap();
        let settings = from(&[("HF_HOME", home), ("HF_ENDPOINT", "http://127.0.0.1:8/")]).unwrap();
        assert_eq!(settings.cache, folder.path().join("hub"));
        assert_eq!(settings.token, Some(Token("hf_stored".into())));
        assert_eq!(settings.endpoint, "http://127.0.0.1:8");
        let more = [
            ("HF_HOME", home),
            ("HF_TOKEN", "hf_x"),
            ("HF_HUB_CACHE", "/d"),
            ("HF_HUB_OFFLINE", "true"),
        ];
        let settings = from(&more).unwrap();
        assert_eq!(settings.token, Some(Token("hf_x".into())));
        assert_eq!((settings.cache, settings.offline), (PathBuf::from("/d"), true));
        let silent = [
            ("HF_HOME", home),
            ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1"),
            ("TRANSFORMERS_OFFLINE", "0"),
        ];
        let settings = from(&silent).unwrap();
        assert_eq!((settings.token, settings.offline), (None, false));
    }

    #[test]
    fn unusable_values_are_refused_without_showing_a_token() {
        for (name, value) in
            [("HF_ENDPOINT", "ftp://x"), ("HF_HUB_DOWNLOAD_TIMEOUT", "0"), ("HF_TOKEN", "se\ncret")]
        {
            let error = from(&[("HF_HOME", "/h"), (name, value)]).unwrap_err().to_string();
            assert!(error.starts_with(name) && !error.contains("cret"), "{error}");
        }
        assert_eq!(format!("{:?}", Token::new("hf_secret")), "Token(…)");
    }
}
