//! The open connections of one worker.
//!
//! actix-server accepts at most a worker's maximum; further clients wait in the listener's backlog. When the last place
//! is taken, the connection that has been idle the longest is closed, unless its next request has arrived and is still
//! unread. So nobody can keep others out by holding connections open.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
};

use super::Activity;

/// The open connections of one worker, in order of arrival.
pub(super) struct Open {
    most: usize,
    next: Cell<u64>,
    connections: RefCell<BTreeMap<u64, Rc<Activity>>>,
}

/// The place of one open connection. Dropping it frees the place.
pub(super) struct Place {
    open: Rc<Open>,
    number: u64,
}

impl Open {
    pub(super) fn at_most(most: usize) -> Rc<Self> {
        Rc::new(Self { most, next: Cell::new(0), connections: RefCell::default() })
    }

    /// Adds a connection. If it takes the last place, the connection that has been idle the longest is closed.
    pub(super) fn enter(self: &Rc<Self>, activity: Rc<Activity>) -> Place {
        let number = self.next.replace(self.next.get() + 1);
        let mut connections = self.connections.borrow_mut();
        if connections.len() + 1 >= self.most
            && let Some(idle) = longest_idle(connections.values())
        {
            idle.displace();
        }
        connections.insert(number, activity);
        Place { open: self.clone(), number }
    }
}

fn longest_idle<'a>(connections: impl Iterator<Item = &'a Rc<Activity>>) -> Option<&'a Rc<Activity>> {
    let idle = connections.filter(|activity| !activity.is_answering() && !activity.is_displaced());
    idle.min_by_key(|activity| activity.idle_since())
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.connections.borrow_mut().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_idle_connection_is_closed_when_the_last_place_is_taken() {
        let open = Open::at_most(4);
        let activities: Vec<_> = (0..5).map(|_| Rc::new(Activity::new())).collect();
        let displaced = || activities.iter().map(|activity| activity.is_displaced()).collect::<Vec<_>>();
        activities[0].begin_answer(false);
        let mut places: Vec<_> = activities[..3].iter().map(|activity| open.enter(activity.clone())).collect();
        assert_eq!(displaced(), [false; 5]);
        places.push(open.enter(activities[3].clone()));
        assert_eq!(displaced(), [false, true, false, false, false], "the first one is being answered");
        places.remove(1);
        places.push(open.enter(activities[4].clone()));
        assert_eq!(displaced(), [false, true, true, false, false]);
        drop(places);
        assert!(open.connections.borrow().is_empty());
    }
}
