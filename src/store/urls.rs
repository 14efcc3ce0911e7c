//! The URL of a database.

use std::{
    error::Error,
    fmt,
    net::IpAddr,
    path::{self, PathBuf},
    str::FromStr,
};

use tokio_postgres::{
    Config,
    config::{Host, SslMode},
};

/// Which database to use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// `sqlite:PATH`
    Sqlite(PathBuf),
    /// `postgres://USER:PASSWORD@HOST:PORT/DATABASE`
    Postgres(Box<PostgresUrl>),
}

/// The text is not the URL of a supported database. Without the text: there may be a password in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadUrl(String);

impl FromStr for DatabaseUrl {
    type Err = BadUrl;

    fn from_str(text: &str) -> Result<Self, BadUrl> {
        let bad = || {
            BadUrl(
                "the database must be given as sqlite:PATH or postgres://USER:PASSWORD@HOST:PORT/DATABASE".to_owned(),
            )
        };
        match text.split_once(':') {
            Some(("sqlite", path)) => {
                let path = path.strip_prefix("//").unwrap_or(path);
                (!path.is_empty() && !path.starts_with(':')).then(|| Self::Sqlite(path.into())).ok_or_else(bad)
            }
            Some(("postgres" | "postgresql", rest)) if rest.starts_with("//") => {
                Ok(Self::Postgres(Box::new(PostgresUrl::parse(text).map_err(BadUrl)?)))
            }
            _ => Err(bad()),
        }
    }
}

/// For people: without the password and the address of a server.
impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "SQLite, {}", path.display()),
            Self::Postgres(_) => f.write_str("PostgreSQL"),
        }
    }
}

impl DatabaseUrl {
    /// The URL with the whole path of a file.
    #[must_use]
    pub fn absolute(&self) -> Self {
        match self {
            Self::Sqlite(path) => Self::Sqlite(path::absolute(path).unwrap_or_else(|_no_folder| path.clone())),
            Self::Postgres(_) => self.clone(),
        }
    }
}

/// Where a PostgreSQL server is, and how its connections are secured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresUrl {
    /// Whether connections are encrypted is in it, too.
    pub(super) config: Config,
    pub(super) verification: Verification,
    /// A file with the certificates of the authorities to trust, in PEM; `None` for those that the system trusts.
    pub(super) root_certificates: Option<PathBuf>,
}

/// What of the server's certificate is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verification {
    /// Nothing: whoever can redirect the connection can read it.
    None,
    /// That an authority has signed it.
    Chain,
    /// That an authority has signed it for the host of the URL.
    Name,
}

impl PostgresUrl {
    /// The servers that it names, such as `db.example.com (port 5432)`.
    pub(super) fn servers(&self) -> String {
        let ports = self.config.get_ports();
        let hosts = self.config.get_hosts().iter().enumerate().map(|(number, host)| match host {
            // One port may be that of all.
            Host::Tcp(name) => format!("{name} (port {})", ports.get(number).or(ports.first()).unwrap_or(&5432)),
            Host::Unix(folder) => folder.display().to_string(),
        });
        hosts.collect::<Vec<_>>().join(", ")
    }

    /// Reads what only some clients know, `sslmode` and `sslrootcert`, as libpq does
    /// (<https://www.postgresql.org/docs/current/libpq-ssl.html>), but for one thing: no connection falls back to plain text.
    fn parse(text: &str) -> Result<Self, String> {
        let (server, parameters) = text.split_once('?').unwrap_or((text, ""));
        let (mut mode, mut root_certificates) = (None, None);
        let mut others = form_urlencoded::Serializer::new(String::new());
        for (name, value) in form_urlencoded::parse(parameters.as_bytes()) {
            match &*name {
                "sslmode" => mode = Some(value.into_owned()),
                "sslrootcert" => root_certificates = Some(PathBuf::from(&*value)),
                // The others are those of the client library, which wants blanks as %20.
                _ if name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') => {
                    others.append_pair(&name, &value);
                }
                // Not shown: it may be a part of a password.
                _ => return Err("the URL of the database is wrong after its ?, which is %3F in a password".to_owned()),
            }
        }
        let server = format!("{server}?{}", others.finish().replace('+', "%20"));
        let mut config: Config = server.parse().map_err(|error: tokio_postgres::Error| {
            let why = error.source().map_or_else(|| error.to_string(), ToString::to_string);
            format!("the URL of the database is wrong: {why}")
        })?;
        // The client library ends a password at the first @. Not shown: the host would begin with a part of it.
        if config.get_hosts().iter().any(|host| matches!(host, Host::Tcp(name) if name.contains('@'))) {
            return Err("the URL of the database is wrong before its host: an @ in a password is %40".to_owned());
        }
        let verification = match mode.as_deref() {
            None if config.get_hosts().iter().all(is_local) => {
                config.ssl_mode(SslMode::Disable);
                return Ok(Self { config, verification: Verification::None, root_certificates });
            }
            Some("disable") => {
                config.ssl_mode(SslMode::Disable);
                return Ok(Self { config, verification: Verification::None, root_certificates });
            }
            None | Some("require") if root_certificates.is_none() => Verification::None,
            None | Some("require" | "verify-ca") => Verification::Chain,
            Some("verify-full") => Verification::Name,
            Some(other) => {
                return Err(format!(
                    "the URL of the database has sslmode={other}: take require, verify-ca or verify-full, or disable for \
                     connections in plain text"
                ));
            }
        };
        config.ssl_mode(SslMode::Require);
        Ok(Self { config, verification, root_certificates })
    }
}

/// Whether what is sent to the host does not leave this machine.
fn is_local(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => name == "localhost" || name.parse().is_ok_and(|address: IpAddr| address.is_loopback()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secured(url: &str) -> Result<(SslMode, Verification), String> {
        match url.parse::<DatabaseUrl>() {
            Ok(DatabaseUrl::Postgres(url)) => Ok((url.config.get_ssl_mode(), url.verification)),
            Ok(DatabaseUrl::Sqlite(_)) => panic!(),
            Err(BadUrl(why)) => Err(why),
        }
    }

    #[test]
    fn what_leaves_the_machine_is_encrypted_unless_the_url_says_otherwise() {
        use SslMode::{Disable, Require};
        use Verification::{Chain, Name, None};
        for (url, expected) in [
            ("postgres://a:b@127.0.0.1/c", (Disable, None)),
            ("postgres://a:b@[::1]:5432/c", (Disable, None)),
            ("postgres://localhost/c", (Disable, None)),
            ("postgres://a@%2Fvar%2Frun/c", (Disable, None)),
            ("postgres://db.example.com/c", (Require, None)),
            ("postgres://localhost,db.example.com/c", (Require, None)),
            ("postgres://db.example.com/c?sslmode=disable", (Disable, None)),
            ("postgres://localhost/c?sslmode=require", (Require, None)),
            ("postgres://db.example.com/c?sslmode=require&sslrootcert=ca.pem", (Require, Chain)),
            ("postgres://db.example.com/c?sslrootcert=ca.pem", (Require, Chain)),
            ("postgres://db.example.com/c?sslmode=verify-ca", (Require, Chain)),
            ("postgresql://db.example.com/c?application_name=my%20chat&sslmode=verify-full", (Require, Name)),
        ] {
            assert_eq!(secured(url), Ok(expected), "{url}");
        }
        for (url, said) in [
            ("postgres://localhost/c?sslmode=prefer", "verify-full"),
            ("postgres://localhost/c?sslcert=me.pem", "sslcert"),
            ("postgres://localhost:port/c", "port"),
            ("postgres://me:12?secret@localhost/c", "%3F"),
            ("postgres://me:12@secret@localhost/c", "%40"),
        ] {
            let error = secured(url).unwrap_err();
            assert!(error.contains(said) && !error.contains("secret"), "{url}: {error}");
        }
    }

    #[test]
    fn other_parameters_reach_the_client() {
        let url = "postgres://a,b/c?target_session_attrs=read-write&application_name=my%20chat&channel_binding=require";
        let Ok(DatabaseUrl::Postgres(url)) = url.parse() else { panic!() };
        assert_eq!(url.config.get_application_name(), Some("my chat"));
        assert_eq!(url.config.get_hosts().len(), 2);
        let shown = format!("{:?}", url.config);
        assert!(shown.contains("ReadWrite") && shown.contains("channel_binding: Require"), "{shown}");
    }
}
