//! `/v1/gateway/groups`: customers, the models that they may call, the limits on each model, and budgets.

use std::{ops::Bound, sync::Arc};

use actix_web::web::{Data, Json};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    budgets::{Budget, NewBudget, effective_budgets, new_budgets},
    models::{Effective, EffectiveModel, Model, NewModel, models_of_new_group, new_models},
};
use crate::{
    domain::{
        group::{self as domain, GroupModels},
        id::GroupId,
        slug::Slug,
    },
    http::admin::{
        api::{
            body::{Body, Object, clearable},
            field::{EnforcementWord, EntityId, Name, PageLimit, Timestamp},
            operator::{ManageAll, ManageApiKeys, Operator},
            page::{self, Page},
            path::Path,
            query::Query,
        },
        error::AdminError,
    },
    service::{
        Gateway,
        catalog::{Catalog, GroupNode},
        changes::groups as service,
        error::Error,
    },
};

const LIST: &str = "groups";

/// A group.
#[derive(Serialize, JsonSchema)]
pub(in crate::http) struct Group {
    id: String,
    metadata: Metadata,
    /// The group's own models and limits.
    models: Vec<Model>,
    /// The group's models with all limits that apply, including inherited ones.
    effective_models: Vec<EffectiveModel>,
    /// The group's own budgets. A budget covers all models of the group.
    budgets: Vec<Budget>,
    /// The budgets that apply to the group, including inherited ones.
    effective_budgets: Vec<Effective<Budget>>,
    hierarchy: Hierarchy,
    created_at: Timestamp,
    disabled: bool,
}

/// The names of a group.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "GroupMetadata")]
pub(in crate::http) struct Metadata {
    name: Option<String>,
    external_entity_id: String,
}

/// The place of a group in the tree.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "GroupHierarchy")]
pub(in crate::http) struct Hierarchy {
    limit_enforcement: EnforcementWord,
    parent_group_id: Option<String>,
}

impl Metadata {
    pub(in crate::http) fn new(group: &domain::Group) -> Self {
        Self { name: group.name.clone(), external_entity_id: group.external_entity_id.clone() }
    }
}

impl Hierarchy {
    pub(in crate::http) fn new(group: &domain::Group) -> Self {
        Self {
            limit_enforcement: EnforcementWord(group.enforcement),
            parent_group_id: group.parent.map(|id| id.to_string()),
        }
    }
}

impl Group {
    fn new(catalog: &Catalog, node: &GroupNode) -> Self {
        let group = node.group();
        Self {
            id: group.id.to_string(),
            metadata: Metadata::new(&group),
            models: group.models.iter().map(|model| Model::new(catalog, model)).collect(),
            effective_models: group.models.iter().map(|model| EffectiveModel::new(catalog, node, model)).collect(),
            budgets: group.budgets.iter().map(Budget::new).collect(),
            effective_budgets: effective_budgets(node),
            hierarchy: Hierarchy::new(&group),
            created_at: Timestamp(group.created_at_ms),
            disabled: group.disabled,
        }
    }
}

/// A group to be created.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewGroup")]
pub(in crate::http) struct Create {
    metadata: Object<NewMetadata>,
    /// At least one model; the slugs must be distinct.
    models: Vec<Object<NewModel>>,
    /// At most one budget of each unit. Default: none.
    budgets: Option<Vec<Object<NewBudget>>>,
    /// The place of the group in the tree. Default: a root.
    hierarchy: Option<Object<NewHierarchy>>,
}

impl Create {
    /// Validates the body by the rules that do not depend on stored data. `models_of` validates the models.
    pub(in crate::http) fn read(
        self,
        models_of: impl FnOnce(Vec<Object<NewModel>>) -> Result<GroupModels<Slug>, Error>,
    ) -> Result<service::NewGroup, Error> {
        let Object(metadata) = self.metadata;
        let (enforcement, parent) = match self.hierarchy {
            Some(Object(hierarchy)) => (hierarchy.limit_enforcement, hierarchy.parent_group_id),
            None => (None, None),
        };
        let parent = parent.map(|id| id.parse()).transpose();
        Ok(service::NewGroup {
            external_entity_id: metadata.external_entity_id.0,
            name: metadata.name.map(|name| name.0),
            models: models_of(self.models)?,
            budgets: new_budgets(self.budgets.unwrap_or_default())?,
            enforcement: enforcement.map(|mode| mode.0),
            parent: parent
                .map_err(|_| Error::invalid("parent_not_found", "hierarchy.parent_group_id: no group has this id"))?,
        })
    }
}

/// The names of a group to be created.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewGroupMetadata")]
struct NewMetadata {
    /// The operator's own id for the customer. It is unique and cannot be changed.
    external_entity_id: EntityId,
    name: Option<Name>,
}

/// The place of a new group in the tree. It cannot be changed.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewGroupHierarchy")]
struct NewHierarchy {
    /// How limits work in this tree. Default: the parent's mode, or INDEPENDENT for a root.
    limit_enforcement: Option<EnforcementWord>,
    parent_group_id: Option<String>,
}

/// The changes to a group.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "GroupPatch")]
pub(in crate::http) struct Patch {
    metadata: Option<Object<MetadataPatch>>,
    /// The whole new set of models.
    models: Option<Vec<Object<NewModel>>>,
    /// The whole new set of budgets; at most one of each unit.
    budgets: Option<Vec<Object<NewBudget>>>,
    /// Whether all calls from the group and its descendants are refused.
    disabled: Option<bool>,
}

/// The changes to a group's metadata.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "GroupMetadataPatch")]
struct MetadataPatch {
    /// `null` clears the name.
    #[serde(default, deserialize_with = "clearable")]
    name: Option<Option<Name>>,
}

/// A deleted group.
#[derive(Serialize, JsonSchema)]
pub(in crate::http) struct DeletedGroup {
    id: String,
    metadata: Metadata,
    deleted_at: Timestamp,
}

/// The parameters of a list of groups.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct GroupsQuery {
    /// The maximum number of items on a page. Default: 100.
    limit: Option<PageLimit>,
    /// The `pagination.cursor` of the previous page.
    cursor: Option<String>,
    /// Return only the group with exactly this external entity id.
    external_entity_id: Option<String>,
    /// Return only the children of this group.
    parent_group_id: Option<String>,
}

impl GroupsQuery {
    /// The groups after `after`, in order of their ids, selected by the narrowest given filter.
    /// [`GroupsQuery::matches`] checks the rest.
    fn candidates<'a>(
        &self,
        catalog: &'a Catalog,
        after: Option<GroupId>,
    ) -> Box<dyn Iterator<Item = &'a Arc<GroupNode>> + 'a> {
        if let Some(entity) = &self.external_entity_id {
            let found = catalog.group_by_entity(entity).into_iter();
            return Box::new(found.filter(move |node| after.is_none_or(|after| node.id > after)));
        }
        let Some(parent) = &self.parent_group_id else {
            let after = after.map_or(Bound::Unbounded, Bound::Excluded);
            return Box::new(catalog.groups().range((after, Bound::Unbounded)).map(|(_, node)| node));
        };
        let children =
            parent.parse::<GroupId>().ok().into_iter().flat_map(move |parent| catalog.children(parent, after));
        Box::new(children.filter_map(|id| catalog.groups().get(id)))
    }

    fn matches(&self, node: &GroupNode) -> bool {
        let wanted = self.parent_group_id.as_deref().map(str::parse::<GroupId>);
        wanted.is_none_or(|wanted| node.parent.as_ref().map(|parent| parent.id) == wanted.ok() && wanted.is_ok())
    }
}

fn show(gateway: &Gateway, node: &GroupNode) -> Json<Group> {
    Json(Group::new(&gateway.core.catalog.load(), node))
}

pub(in crate::http) async fn list(
    _: Operator<ManageApiKeys>,
    gateway: Data<Gateway>,
    Query(query): Query<GroupsQuery>,
) -> Result<Json<Page<Group>>, AdminError> {
    let after: Option<String> = query.cursor.as_deref().map(|cursor| page::decode(LIST, cursor)).transpose()?;
    let after = after.and_then(|id| id.parse().ok());
    let catalog = gateway.core.catalog.load();
    let rest = query.candidates(&catalog, after).filter(|node| query.matches(node));
    let size = page::size(query.limit.clone());
    let view = |node: &Arc<GroupNode>| Group::new(&catalog, node);
    Ok(Json(Page::of(LIST, rest, size, |node| node.id.to_string(), view)?))
}

pub(in crate::http) async fn create(
    operator: Operator<ManageAll>,
    gateway: Data<Gateway>,
    Body(body): Body<Create>,
) -> Result<Json<Group>, AdminError> {
    let new = body.read(models_of_new_group)?;
    let node = gateway.changes.create_group(operator.actor(), new).await?;
    Ok(show(&gateway, &node))
}

pub(in crate::http) async fn get(
    _: Operator<ManageApiKeys>,
    gateway: Data<Gateway>,
    Path(id): Path<GroupId>,
) -> Result<Json<Group>, AdminError> {
    let node = gateway.core.catalog.load().find_group(id)?;
    Ok(show(&gateway, &node))
}

pub(in crate::http) async fn update(
    operator: Operator<ManageAll>,
    gateway: Data<Gateway>,
    Path(id): Path<GroupId>,
    Body(body): Body<Patch>,
) -> Result<Json<Group>, AdminError> {
    let patch = service::GroupPatch {
        name: body.metadata.and_then(|metadata| metadata.0.name).map(|name| name.map(|name| name.0)),
        models: body.models.map(new_models).transpose()?,
        budgets: body.budgets.map(new_budgets).transpose()?,
        disabled: body.disabled,
    };
    if patch.is_empty() {
        let message = "The body must have at least one of metadata.name, models, budgets and disabled";
        return Err(Error::invalid("empty_patch", message).into());
    }
    let node = gateway.changes.update_group(operator.actor(), id, patch).await?;
    Ok(show(&gateway, &node))
}

pub(in crate::http) async fn delete(
    operator: Operator<ManageAll>,
    gateway: Data<Gateway>,
    Path(id): Path<GroupId>,
) -> Result<Json<DeletedGroup>, AdminError> {
    let node = gateway.changes.delete_group(operator.actor(), id).await?;
    let deleted_at = Timestamp(gateway.core.now_ms());
    Ok(Json(DeletedGroup { id: id.to_string(), metadata: Metadata::new(&node.group()), deleted_at }))
}
