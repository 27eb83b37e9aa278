//! Sets up the demo of `serve --demo` in an empty installation: an endpoint on the built-in upstream, a group and a
//! key.

use crate::{
    crypto::secret::Secret,
    domain::{
        budget::Budgets,
        endpoint::{Provider, Region, Routing, Target},
        group::{GroupModel, GroupModels},
        limit::{Limit, LimitType, Threshold, Unit},
        record::Actor,
        slug::Slug,
    },
    service::{
        changes::{change::Changes, endpoints::NewEndpoint, groups::NewGroup},
        error::Error,
    },
};

/// The slug of the demo's model.
pub const SLUG: &str = "demo/echo";

/// The result of setting up the demo.
pub enum Seeded {
    /// The demo was set up. Holds its key.
    Demo(Secret),
    /// The installation already has endpoints or groups and was left unchanged.
    NotEmpty,
}

/// Sets up the demo if the installation is empty.
pub async fn seed(changes: &Changes) -> Result<Seeded, Error> {
    {
        let catalog = changes.core.catalog.load();
        if !catalog.endpoints().is_empty() || !catalog.groups().is_empty() {
            return Ok(Seeded::NotEmpty);
        }
    }
    let target = Target {
        provider: Provider::Demo,
        base_url: None,
        target_model: None,
        secret: None,
        model_id: None,
        environment_name: None,
        weight: 1,
        max_concurrent: None,
    };
    let slug = Slug::parse(SLUG).map_err(Error::internal)?;
    let endpoint = NewEndpoint {
        slug: slug.clone(),
        region: Region::Unrestricted,
        targets: vec![target],
        pricing: None,
        routing: Routing::Priority,
        queue_timeout_s: 0,
    };
    changes.create_endpoint(Actor::system(), endpoint).await?;
    let limit = |limit_type, unit, threshold| Some(Limit { limit_type, unit, threshold: Threshold::new(threshold)? });
    let limits = [limit(LimitType::Request, Unit::Minute, 60), limit(LimitType::Token, Unit::Day, 100_000)];
    let model = GroupModel { slug, limits: limits.into_iter().flatten().collect() };
    let group = NewGroup {
        external_entity_id: "demo".to_owned(),
        name: Some("Demo customer".to_owned()),
        models: GroupModels::of_new_group(vec![model]).map_err(|error| Error::internal(format!("{error:?}")))?,
        budgets: Budgets::default(),
        enforcement: None,
        parent: None,
    };
    let group = changes.create_group(Actor::system(), group).await?;
    let minted = changes.mint_key(Actor::system(), group.id, Some("demo".to_owned()), None).await?;
    Ok(Seeded::Demo(minted.key))
}
