//! Bindings: which builds of another system may do what in a repository.
//!
//! Invariant: a binding's id begins with a hash of issuer and source repository, so that all that
//! could concern a build lie side by side; the hash only finds them, what is stored is compared
//! whole. A binding never gives more than `write`. It ends by being deleted, which holds from the
//! next request on.

use super::access::Bindable;
use super::{Registry, RegistryError, Result};
use crate::domain::pattern::{InvalidPattern, bare, is_claim_name};
use crate::domain::{
    Binding, Change, Conditions, Event, Identity, Pattern, RepositoryId, Role, TagRule, Timestamp,
    WorkspaceId,
};
use crate::metadata::documents::{Body as _, OidcBinding, OidcConditions, OidcTagRule, Permission};
use crate::metadata::{Document, DocumentKind, MetadataError, Page};
use sha2::{Digest as _, Sha256};
use std::str::FromStr;

/// The most bindings of one source repository.
const MOST_BINDINGS: usize = 50;
/// The most patterns in one list, and the most rules.
const MOST_ITEMS: usize = 50;
/// The longest audience and source repository in bytes.
const LONGEST: usize = 250;
/// How many documents are read at a time when all are looked through.
const BATCH: usize = 200;
/// How much of the hash is in an id, in bytes.
const HASH_BYTES: usize = 8;

/// A binding to be made, as it was asked for.
#[derive(Clone, Debug)]
pub struct NewBinding {
    /// The issuer's URL, which the settings name.
    pub issuer: String,
    /// The audience that tokens must name, one of the issuer's in the settings.
    pub audience: String,
    /// The source repository as the issuer calls it.
    pub source: String,
    /// `read` or `write`.
    pub role: Role,
    /// What a build must be to log in.
    pub when: Conditions,
    /// Which tags it may move.
    pub tag_rules: Vec<TagRule>,
}

/// A binding and when it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindingView {
    /// The binding.
    pub binding: Binding,
    /// Who made it.
    pub by: String,
    /// When.
    pub created: Timestamp,
}

impl Registry {
    /// Makes a binding. Whether the settings have the issuer is not known here.
    ///
    /// # Errors
    /// [`RegistryError::Invalid`] names the field.
    pub async fn create_binding(
        &self,
        access: &Bindable,
        change: &Change,
        new: NewBinding,
    ) -> Result<BindingView> {
        self.require_room_for_changes()?;
        check(&new)?;
        let source = bare(&new.source).to_owned();
        let prefix = id_prefix(&new.issuer, &source);
        if self.bindings_of_prefix(&prefix).await?.len() >= MOST_BINDINGS {
            let reason = format!("there are {MOST_BINDINGS} bindings of it; end some first");
            return Err(RegistryError::Invalid { field: "source_repository", reason });
        }
        let random = uuid::Uuid::new_v4().simple().to_string();
        let binding = Binding {
            id: format!("{prefix}{}", &random[..16]),
            workspace: access.repository.workspace,
            repository: access.repository.id,
            role: new.role,
            issuer: new.issuer,
            audience: new.audience,
            source,
            when: new.when,
            tag_rules: new.tag_rules,
        };
        let (kind, body) = (DocumentKind::OidcBinding, store(&binding).encode());
        let event = event(access, "binding.create", &binding.id)
            .with("role", binding.role.as_str())
            .with("issuer", &binding.issuer)
            .with("source_repository", &binding.source);
        let change = &change.doing(event);
        self.metadata.put_document(change, kind, &binding.id, None, body).await?;
        let stored = self.metadata.document(kind, &binding.id).await?;
        let created = stored.map_or_else(|| self.clock.now(), |stored| stored.changed.at);
        Ok(BindingView { binding, by: change.actor.clone(), created })
    }

    /// A page of a repository's bindings, by id. Looks through those of all repositories, which is
    /// fine for the people it serves and is never done for a push or pull.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn bindings(&self, access: &Bindable, page: Page) -> Result<Vec<BindingView>> {
        let mut views = Vec::new();
        let mut after = page.after;
        while views.len() < page.limit {
            let next = Page { after, limit: BATCH };
            let found = self.metadata.documents(DocumentKind::OidcBinding, "", next).await?;
            let Some(last) = found.last() else { break };
            after = Some(last.key.clone());
            for document in found {
                let view = view(document)?;
                if view.binding.repository == access.repository.id {
                    views.push(view);
                }
            }
        }
        views.truncate(page.limit);
        Ok(views)
    }

    /// Ends a binding.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`], also for one of another repository.
    pub async fn end_binding(&self, access: &Bindable, change: &Change, id: &str) -> Result<()> {
        let missing = || RegistryError::NotFound(format!("binding {id}"));
        let kind = DocumentKind::OidcBinding;
        let found = self.metadata.document(kind, id).await?.ok_or_else(missing)?;
        let version = found.version;
        if view(found)?.binding.repository != access.repository.id {
            return Err(missing());
        }
        let change = &change.doing(event(access, "binding.end", id));
        let delete = || self.metadata.delete_document(change, kind, id, version);
        match self.deleting(delete).await {
            Err(MetadataError::NotFound) => Err(missing()),
            other => Ok(other?),
        }
    }

    /// The bindings that are about a build, whether it meets their conditions or not.
    ///
    /// # Errors
    /// Those of the storage.
    pub async fn bindings_about(&self, build: &Identity) -> Result<Vec<Binding>> {
        let prefix = id_prefix(&build.issuer, build.source());
        let mut bindings = self.bindings_of_prefix(&prefix).await?;
        bindings.retain(|binding| binding.is_about(build));
        Ok(bindings)
    }

    async fn bindings_of_prefix(&self, prefix: &str) -> Result<Vec<Binding>> {
        // Two administrators at once may make one more than there should be.
        let page = Page { after: None, limit: 2 * MOST_BINDINGS };
        let found = self.metadata.documents(DocumentKind::OidcBinding, prefix, page).await?;
        found.into_iter().map(|document| Ok(view(document)?.binding)).collect()
    }
}

/// Something done to a binding of a repository.
fn event(access: &Bindable, action: &'static str, id: &str) -> Event {
    let repository = &access.repository;
    Event::workspace(repository.workspace, action, &repository.fields.slug).with("binding", id)
}

/// A hash of both texts, each with its length, so that nothing can be moved from one to the other.
fn id_prefix(issuer: &str, source: &str) -> String {
    let mut hash = Sha256::new();
    for text in [issuer, source] {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    }
    hash.finalize()[..HASH_BYTES].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn check(new: &NewBinding) -> Result<()> {
    let invalid = |field, reason: String| Err(RegistryError::Invalid { field, reason });
    if new.role > Role::Write {
        return invalid("role", "a build has the role read or write".to_owned());
    }
    let source = bare(&new.source);
    if source.is_empty() || source.len() > LONGEST || source.chars().any(char::is_control) {
        let reason = "the id of the repository that builds, such as Bitbucket's repository UUID";
        return invalid("source_repository", reason.to_owned());
    }
    if source.contains('*') {
        let reason = "one repository exactly; * stands for nothing here";
        return invalid("source_repository", reason.to_owned());
    }
    if new.tag_rules.len() > MOST_ITEMS {
        return invalid("tag_rules", format!("at most {MOST_ITEMS} rules"));
    }
    check_conditions(&new.when)?;
    for rule in &new.tag_rules {
        if rule.tags.is_empty() || rule.tags.len() > MOST_ITEMS {
            return invalid("tag_rules", format!("each rule names 1 to {MOST_ITEMS} tag patterns"));
        }
        check_conditions(&rule.when)?;
    }
    Ok(())
}

fn check_conditions(when: &Conditions) -> Result<()> {
    let invalid = |field, reason: String| Err(RegistryError::Invalid { field, reason });
    let few = |patterns: &[Pattern]| patterns.len() <= MOST_ITEMS;
    if !few(&when.branches) || !few(&when.environments) || when.claims.len() > MOST_ITEMS {
        return invalid("branches", format!("at most {MOST_ITEMS} of each condition"));
    }
    for (name, values) in &when.claims {
        if !is_claim_name(name) {
            return invalid("claims", "a claim's name is 1 to 64 plain letters".to_owned());
        }
        if values.is_empty() || !few(values) {
            return invalid("claims", format!("each claim has 1 to {MOST_ITEMS} patterns"));
        }
    }
    Ok(())
}

fn store(binding: &Binding) -> OidcBinding {
    let rule = |rule: &TagRule| OidcTagRule {
        tags: texts(&rule.tags),
        when: store_conditions(&rule.when),
    };
    OidcBinding {
        workspace: binding.workspace.0,
        repository: binding.repository.0,
        role: Permission::new(binding.role),
        issuer: binding.issuer.clone(),
        audience: binding.audience.clone(),
        source: binding.source.clone(),
        when: store_conditions(&binding.when),
        tag_rules: binding.tag_rules.iter().map(rule).collect(),
    }
}

fn store_conditions(when: &Conditions) -> OidcConditions {
    OidcConditions {
        branches: texts(&when.branches),
        environments: texts(&when.environments),
        claims: when.claims.iter().map(|(name, values)| (name.clone(), texts(values))).collect(),
    }
}

fn texts<T: ToString>(patterns: &[T]) -> Vec<String> {
    patterns.iter().map(T::to_string).collect()
}

fn view(document: Document) -> Result<BindingView> {
    let stored = OidcBinding::decode(&document.body)?;
    let damaged = || MetadataError::Corrupt(OidcBinding::NAME);
    let binding = read(document.key, stored).ok_or_else(damaged)?;
    let crate::metadata::Stamped { change, at } = document.changed;
    Ok(BindingView { binding, by: change.actor, created: at })
}

/// `None` if something in it is not what was checked when it was made.
fn read(id: String, stored: OidcBinding) -> Option<Binding> {
    let rule = |rule: OidcTagRule| {
        let when = read_conditions(rule.when).ok()?;
        Some(TagRule { tags: patterns(&rule.tags).ok()?, when })
    };
    Some(Binding {
        id,
        workspace: WorkspaceId(stored.workspace),
        repository: RepositoryId(stored.repository),
        role: stored.role.role()?,
        issuer: stored.issuer,
        audience: stored.audience,
        source: stored.source,
        when: read_conditions(stored.when).ok()?,
        tag_rules: stored.tag_rules.into_iter().map(rule).collect::<Option<_>>()?,
    })
}

fn read_conditions(stored: OidcConditions) -> std::result::Result<Conditions, InvalidPattern> {
    let claim = |(name, values): (String, Vec<String>)| Ok((name, patterns(&values)?));
    Ok(Conditions {
        branches: patterns(&stored.branches)?,
        environments: patterns(&stored.environments)?,
        claims: stored
            .claims
            .into_iter()
            .map(claim)
            .collect::<std::result::Result<_, InvalidPattern>>()?,
    })
}

fn patterns<T: FromStr<Err = InvalidPattern>>(
    texts: &[String],
) -> std::result::Result<Vec<T>, InvalidPattern> {
    texts.iter().map(|text| text.parse()).collect()
}
