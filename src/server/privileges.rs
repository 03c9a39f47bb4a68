//! Becoming the user and group of `[server]` once the sockets are bound.

use std::fmt;
use std::io;

use super::sys;

/// Who the process is to become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Nothing where only a group is given: the user stays.
    user: Option<(String, u32)>,
    gid: u32,
}

/// The user as whom the process acts.
///
/// # Errors
/// None that are known.
pub(crate) fn effective_user() -> io::Result<u32> {
    sys::uids().map(|[_, effective, _]| effective)
}

impl Identity {
    /// Looks `[server] user` and `group` up; nothing where neither is given. The group defaults to the user's own.
    ///
    /// # Errors
    /// All names that the system doesn't know.
    pub fn resolve(user: Option<&str>, group: Option<&str>) -> Result<Option<Identity>, PrivilegeError> {
        let failed = |kind, name: &str| {
            let name = name.to_owned();
            move |error| PrivilegeError::LookUp { kind, name, error }
        };
        let mut unknown = Vec::new();
        let mut user_ids = None;
        if let Some(name) = user {
            user_ids = sys::user(name).map_err(failed("user", name))?;
            if user_ids.is_none() {
                unknown.push(("user", name.to_owned()));
            }
        }
        let mut gid = user_ids.map(|ids| ids.gid);
        if let Some(name) = group {
            gid = sys::group(name).map_err(failed("group", name))?;
            if gid.is_none() {
                unknown.push(("group", name.to_owned()));
            }
        }
        if !unknown.is_empty() {
            return Err(PrivilegeError::Unknown(unknown));
        }
        let user = user.map(str::to_owned).zip(user_ids.map(|ids| ids.uid));
        Ok(gid.map(|gid| Identity { user, gid }))
    }

    /// Makes all threads of the process this user and group, for good, with no other group. Without root nothing
    /// needs to be done where the process is both already. Becoming a user other than root drops all capabilities.
    ///
    /// # Errors
    /// Where the process may not, or could still get its old user back.
    pub fn assume(&self) -> Result<(), PrivilegeError> {
        let failed = |step| move |error| PrivilegeError::Assume { step, wanted: self.to_string(), error };
        let [real_uid, ..] = sys::uids().map_err(failed("getresuid"))?;
        let uid = self.user.as_ref().map_or(real_uid, |(_, uid)| *uid);
        if real_uid != 0 && self.is_current(uid).map_err(failed("getresuid"))? {
            return Ok(());
        }
        // Groups first, as the user may not change them afterwards.
        sys::set_only_supplementary_group(self.gid).map_err(failed("setgroups"))?;
        sys::set_gids(self.gid).map_err(failed("setresgid"))?;
        sys::set_uids(uid).map_err(failed("setresuid"))?;
        let regained = uid != 0 && (sys::set_uids(0).is_ok() || self.gid != 0 && sys::set_gids(0).is_ok());
        if regained || !self.is_current(uid).map_err(failed("getresuid"))? {
            return Err(PrivilegeError::Kept(self.to_string()));
        }
        Ok(())
    }

    fn is_current(&self, uid: u32) -> io::Result<bool> {
        Ok(sys::uids()? == [uid; 3] && sys::gids()? == [self.gid; 3])
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((name, uid)) = &self.user {
            write!(formatter, "user {name} ({uid}), ")?;
        }
        write!(formatter, "group {}", self.gid)
    }
}

/// Why the process could not become another user.
#[derive(Debug)]
pub enum PrivilegeError {
    /// Users and groups, as (kind, name), that don't exist.
    Unknown(Vec<(&'static str, String)>),
    /// The system's list of names can't be read.
    LookUp {
        /// "user" or "group"
        kind: &'static str,
        /// The name looked for.
        name: String,
        /// What the system said.
        error: io::Error,
    },
    /// A system call was refused.
    Assume {
        /// Which one.
        step: &'static str,
        /// Who the process was to become.
        wanted: String,
        /// What the system said.
        error: io::Error,
    },
    /// The process could get its old user or group back: it must not serve like that.
    Kept(String),
}

impl fmt::Display for PrivilegeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PrivilegeError::Unknown(names) => {
                let names: Vec<_> = names.iter().map(|(kind, name)| format!("{kind} \"{name}\"")).collect();
                let names = names.join(" and ");
                write!(
                    formatter,
                    "this system has no {names}: create it (`useradd --system NAME`, `groupadd --system NAME`), or \
                     name another in [server]"
                )
            }
            PrivilegeError::LookUp { kind, name, error } => {
                write!(formatter, "cannot look up {kind} \"{name}\" of [server]: {error}")
            }
            PrivilegeError::Assume { step, wanted, error } => {
                write!(formatter, "cannot become {wanted}: {step}: {error}")?;
                if error.kind() == io::ErrorKind::PermissionDenied {
                    write!(
                        formatter,
                        "; start as root, or leave `user` and `group` out of [server] and let the service manager \
                         set the user and CAP_NET_BIND_SERVICE"
                    )?;
                }
                Ok(())
            }
            PrivilegeError::Kept(wanted) => {
                write!(formatter, "became {wanted}, but could get the old user or group back; refusing to serve")
            }
        }
    }
}

impl std::error::Error for PrivilegeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            PrivilegeError::LookUp { error, .. } | PrivilegeError::Assume { error, .. } => Some(error),
            PrivilegeError::Unknown(_) | PrivilegeError::Kept(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

    use super::*;

    #[test]
    fn names_are_resolved_and_all_unknown_ones_named() {
        assert_eq!(Identity::resolve(None, None).unwrap(), None);
        let root = Some(("root".to_owned(), 0));
        assert_eq!(Identity::resolve(Some("root"), None).unwrap(), Some(Identity { user: root, gid: 0 }));
        assert_eq!(Identity::resolve(None, Some("root")).unwrap(), Some(Identity { user: None, gid: 0 }));
        let error = Identity::resolve(Some("nobody-here"), Some("no-group-here")).unwrap_err().to_string();
        assert!(error.contains("no user \"nobody-here\" and group \"no-group-here\""), "{error}");
    }
}
