//! A request, byte by byte.

/// A request as bytes in the making. `content-length` is added at the end unless the caller framed the body.
#[derive(Clone)]
pub struct Request {
    line: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    framed: bool,
}

impl Request {
    pub fn new(method: &str, path: &str) -> Self {
        let headers = vec![("Host".to_string(), "cfx.test".to_string())];
        Self { line: format!("{method} {path} HTTP/1.1"), headers, body: Vec::new(), framed: false }
    }

    pub fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    /// A JSON body under `application/json`.
    pub fn post(path: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::with_body("POST", path, body)
    }

    /// The same by another method.
    pub fn with_body(method: &str, path: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..Self::new(method, path) }.header("Content-Type", "application/json")
    }

    pub fn key(self, key: &str) -> Self {
        self.header("Authorization", &format!("Bearer {key}"))
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_string(), value.to_string()));
        self
    }

    /// The same request with another value for a header that it has.
    pub fn instead(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(have, _)| !have.eq_ignore_ascii_case(name));
        self.header(name, value)
    }

    /// Leaves `content-length` to the caller, who has set it (or not) on purpose.
    pub fn framed_by_hand(mut self) -> Self {
        self.framed = true;
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut head = format!("{}\r\n", self.line);
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        if !self.framed && (!self.body.is_empty() || self.line.starts_with("POST")) {
            head += &format!("Content-Length: {}\r\n", self.body.len());
        }
        [head.as_bytes(), b"\r\n", &self.body].concat()
    }
}
