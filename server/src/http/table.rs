//! The table of routes: what the router is built from, and what can be listed.
//!
//! Invariant: a route of this server is in the table, because the router is made of nothing else; the
//! access matrix of the tests asks each of them as everybody.

use crate::app::App;
use axum::Router;
use axum::handler::Handler;
use axum::routing::{get, post};
use std::sync::Arc;

/// A route: a method and the path it is asked at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// The method. `GET` answers `HEAD`, too.
    pub method: String,
    /// The path; what is between braces stands for one segment, or for a name with slashes.
    pub path: String,
}

impl Route {
    pub(super) fn new(method: &str, path: &str) -> Self {
        Self { method: method.to_owned(), path: path.to_owned() }
    }
}

/// Routes with their handlers.
#[derive(Default)]
pub(super) struct Table {
    router: Router<Arc<App>>,
    routes: Vec<Route>,
}

impl Table {
    /// Adds a route.
    pub(super) fn get<H, T>(mut self, path: &str, handler: H) -> Self
    where
        H: Handler<T, Arc<App>>,
        T: 'static,
    {
        self.router = self.router.route(path, get(handler));
        self.routes.push(Route::new("GET", path));
        self
    }

    /// Adds a route.
    pub(super) fn post<H, T>(mut self, path: &str, handler: H) -> Self
    where
        H: Handler<T, Arc<App>>,
        T: 'static,
    {
        self.router = self.router.route(path, post(handler));
        self.routes.push(Route::new("POST", path));
        self
    }

    /// Adds routes of a router that was described elsewhere.
    pub(super) fn described(mut self, router: Router<Arc<App>>, routes: Vec<Route>) -> Self {
        self.router = self.router.merge(router);
        self.routes.extend(routes);
        self
    }

    /// Adds another table.
    pub(super) fn merge(self, other: Self) -> Self {
        self.described(other.router, other.routes)
    }

    /// Lets every body of these routes have at most so many bytes.
    pub(super) fn longest_body(mut self, bytes: usize) -> Self {
        self.router = self.router.layer(axum::extract::DefaultBodyLimit::max(bytes));
        self
    }

    /// The router of it.
    pub(super) fn into_router(self) -> Router<Arc<App>> {
        self.router
    }

    /// The routes in it.
    pub(super) fn into_routes(self) -> Vec<Route> {
        self.routes
    }
}
