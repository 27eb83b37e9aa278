//! Changes to groups, and their rules: unique external ids, existing models, one enforcement mode per tree, at most
//! five levels, and in CASCADING no threshold or budget above an ancestor's.

use std::sync::Arc;

use crate::{
    crypto::random,
    domain::{
        action,
        budget::Budgets,
        group::{Enforcement, Group, GroupModel, GroupModels, MAX_LEVELS},
        id::GroupId,
        record::{Actor, Row},
        slug::Slug,
    },
    service::{
        catalog::{Catalog, GroupNode},
        changes::change::Changes,
        error::Error,
    },
};

/// The fields of a new group.
pub struct NewGroup {
    /// The external id, 1 to 255 characters.
    pub external_entity_id: String,
    /// The name, up to 255 characters.
    pub name: Option<String>,
    /// The models.
    pub models: GroupModels<Slug>,
    /// The budgets.
    pub budgets: Budgets,
    /// The enforcement mode. Defaults to the parent's, or to INDEPENDENT for a root.
    pub enforcement: Option<Enforcement>,
    /// The parent; `None` for a root.
    pub parent: Option<GroupId>,
}

/// The changes to a group. `None` leaves a field unchanged.
#[derive(Default)]
pub struct GroupPatch {
    /// The name; `Some(None)` clears it.
    pub name: Option<Option<String>>,
    /// The whole new set of models.
    pub models: Option<GroupModels<Slug>>,
    /// The whole new set of budgets.
    pub budgets: Option<Budgets>,
    /// Whether the group is disabled, which suspends its whole subtree.
    pub disabled: Option<bool>,
}

impl GroupPatch {
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        let Self { name, models, budgets, disabled } = self;
        name.is_none() && models.is_none() && budgets.is_none() && disabled.is_none()
    }
}

impl Changes {
    /// Creates a group.
    pub async fn create_group(&self, actor: Actor, new: NewGroup) -> Result<Arc<GroupNode>, Error> {
        let change = self.begin().await?;
        let catalog = &change.catalog;
        if catalog.group_by_entity(&new.external_entity_id).is_some() {
            return Err(Error::invalid(
                "duplicate_external_entity_id",
                format!("metadata.external_entity_id: another group has {:?} already.", new.external_entity_id),
            ));
        }
        let parent = new.parent.map(|id| parent(catalog, id)).transpose()?;
        let enforcement = enforcement(new.enforcement, parent.as_deref())?;
        let now_ms = self.core.now_ms();
        let group = Group {
            id: GroupId(random::ulid(now_ms).map_err(Error::internal)?),
            external_entity_id: new.external_entity_id,
            name: new.name,
            models: resolve_models(catalog, new.models, &[])?,
            enforcement,
            parent: new.parent,
            created_at_ms: now_ms,
            disabled: false,
            budgets: new.budgets,
        };
        if enforcement == Enforcement::Cascading {
            below_ancestors(&group, parent.iter().flat_map(|parent| parent.lineage()))?;
        }
        let id = group.id;
        change.commit(actor, action::GROUP_CREATED, vec![Row::Group(group)]).await?;
        self.core.catalog.load().find_group(id)
    }

    /// Changes a group.
    pub async fn update_group(&self, actor: Actor, id: GroupId, patch: GroupPatch) -> Result<Arc<GroupNode>, Error> {
        let change = self.begin().await?;
        let node = change.catalog.find_group(id)?;
        let mut group = Group::clone(&node.group());
        if let Some(name) = patch.name {
            group.name = name;
        }
        if let Some(disabled) = patch.disabled {
            group.disabled = disabled;
        }
        let has_new_limits = patch.models.is_some() || patch.budgets.is_some();
        if let Some(models) = patch.models {
            group.models = resolve_models(&change.catalog, models, &group.models)?;
        }
        if let Some(budgets) = patch.budgets {
            group.budgets = budgets;
        }
        if has_new_limits && group.enforcement == Enforcement::Cascading {
            below_ancestors(&group, node.lineage().skip(1))?;
            above_descendants(&group, &change.catalog.subtree(id)[1..])?;
        }
        change.commit(actor, action::GROUP_UPDATED, vec![Row::Group(group)]).await?;
        Ok(node)
    }

    /// Deletes a group, all its descendants and all their keys. Returns the deleted group.
    pub async fn delete_group(&self, actor: Actor, id: GroupId) -> Result<Arc<GroupNode>, Error> {
        let change = self.begin().await?;
        let nodes = change.catalog.subtree(id);
        let node = nodes.first().cloned().ok_or(Error::NotFound("group"))?;
        let keys = nodes.iter().flat_map(|node| change.catalog.keys_of(node.id, None));
        let mut rows: Vec<_> = keys.map(|entry| Row::ApiKeyGone(entry.key.prefix.clone())).collect();
        rows.extend(nodes.iter().rev().map(|node| Row::GroupGone(node.id)));
        change.commit(actor, action::GROUP_DELETED, rows).await?;
        Ok(node)
    }
}

fn parent(catalog: &Catalog, id: GroupId) -> Result<Arc<GroupNode>, Error> {
    let parent = catalog.groups().get(&id).cloned().ok_or_else(|| {
        Error::invalid("parent_not_found", "hierarchy.parent_group_id: no group has this id.".to_owned())
    })?;
    if parent.level() >= MAX_LEVELS {
        return Err(Error::invalid(
            "too_many_levels",
            "hierarchy.parent_group_id: this parent is on the fifth level, and a tree has at most five levels.",
        ));
    }
    Ok(parent)
}

fn enforcement(wanted: Option<Enforcement>, parent: Option<&GroupNode>) -> Result<Enforcement, Error> {
    let Some(parent) = parent else { return Ok(wanted.unwrap_or(Enforcement::Independent)) };
    match wanted {
        Some(wanted) if wanted != parent.group().enforcement => Err(Error::invalid(
            "limit_enforcement_mismatch",
            "hierarchy.limit_enforcement: a child's mode must be its parent's; leave it out to use the parent's.",
        )),
        _ => Ok(parent.group().enforcement),
    }
}

/// Resolves slug names to ids. A slug without an endpoint is refused, unless the group already carries it.
pub(in crate::service) fn resolve_models(
    catalog: &Catalog,
    models: GroupModels<Slug>,
    carried: &[GroupModel],
) -> Result<GroupModels, Error> {
    models.resolve(|index, slug| {
        let known = catalog
            .slug_id(slug)
            .filter(|id| catalog.model(slug).is_some() || carried.iter().any(|carried| carried.slug == *id));
        known.ok_or_else(|| {
            let message = format!("models[{index}].slug: no endpoint has the slug {:?}.", &**slug);
            Error::invalid("unknown_slug", message)
        })
    })
}

fn exceeds() -> Error {
    Error::invalid("child_exceeds_parent", "Child group exceeds parent group limit.")
}

fn below_ancestors<'a>(group: &Group, mut ancestors: impl Iterator<Item = &'a GroupNode>) -> Result<(), Error> {
    if ancestors.any(|ancestor| group.exceeds(&ancestor.group())) { Err(exceeds()) } else { Ok(()) }
}

fn above_descendants(group: &Group, descendants: &[Arc<GroupNode>]) -> Result<(), Error> {
    if descendants.iter().any(|node| node.group().exceeds(group)) { Err(exceeds()) } else { Ok(()) }
}
