//! xmlrpc
