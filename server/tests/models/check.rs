//! Runs a model and says what came of it.

use super::properties;
use super::variant::Variant;
use super::world::World;
use stateright::{Checker, HasDiscoveries, Model};

/// Visits every state of the protocol as it is: all properties hold and all witnesses are met.
#[expect(clippy::print_stdout, reason = "a model's size is what one looks for when changing it")]
#[expect(clippy::disallowed_methods, reason = "tells how long a model takes; decides nothing")]
pub(crate) fn holds(name: &str, world: World) {
    assert_eq!(world.variant, Variant::Correct);
    let began = std::time::Instant::now();
    let checker = world.checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    println!("{name}: {} states in {:?}", checker.unique_state_count(), began.elapsed());
    let found = checker.discoveries();
    for property in properties::always() {
        let broken = found.get(property.name).map(|way| way.clone().into_actions());
        assert_eq!(broken, None, "{name} breaks {}", property.name);
    }
    for (witness, _) in world.witnesses {
        assert!(found.contains_key(witness), "{name} never reaches: {witness}");
    }
}

/// Looks for the shortest way in which a wrong variant breaks a property; there must be one.
#[expect(clippy::print_stdout, reason = "the way to the fault explains the rule that it breaks")]
pub(crate) fn refuted(world: World, variant: Variant, property: &'static str) {
    assert_ne!(variant, Variant::Correct);
    let checker = World { variant, only: Some(property), ..world }.checker().spawn_bfs().join();
    let found = checker.discovery(property);
    let found = found.unwrap_or_else(|| panic!("{variant:?} passes: {property}"));
    let states = checker.unique_state_count();
    let way = found.into_actions();
    println!("{variant:?} breaks {property} in {} steps ({states} states): {way:?}", way.len());
}
