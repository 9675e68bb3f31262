//! Requests and answers of the agent's local socket, its server and a blocking client.
