//! What the audit log says of a change, beside who made it and when.

use super::WorkspaceId;

/// One thing that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The workspace it was done in; `None` for the whole instance.
    pub workspace: Option<WorkspaceId>,
    /// What was done, as `<thing>.<verb>`, such as `user.invite`.
    pub action: &'static str,
    /// What it was done to: a name, in the workspace if there is one.
    pub target: String,
    /// More about it, in the order it is to be read. Never a secret.
    pub details: Vec<(&'static str, String)>,
}

impl Event {
    /// Something about the whole instance.
    #[must_use]
    pub fn instance(action: &'static str, target: impl ToString) -> Self {
        Self { workspace: None, action, target: target.to_string(), details: Vec::new() }
    }

    /// Something in a workspace.
    #[must_use]
    pub fn workspace(workspace: WorkspaceId, action: &'static str, target: impl ToString) -> Self {
        Self { workspace: Some(workspace), ..Self::instance(action, target) }
    }

    /// Says more about it; what is said twice under one name is joined with a comma.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        match self.details.iter_mut().find(|(known, _)| *known == name) {
            Some((_, values)) => {
                values.push(',');
                values.push_str(&value.to_string());
            }
            None => self.details.push((name, value.to_string())),
        }
        self
    }
}
