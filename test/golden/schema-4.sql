CREATE TABLE model (
 n INTEGER PRIMARY KEY AUTOINCREMENT,
 name TEXT NOT NULL,
 name_lower TEXT NOT NULL UNIQUE,
 arn TEXT NOT NULL UNIQUE,
 status TEXT NOT NULL DEFAULT 'Completed',
 created_ms INTEGER NOT NULL,
 modified_ms INTEGER NOT NULL
);
CREATE INDEX model_by_creation ON model (created_ms, n, status, modified_ms, name);
CREATE INDEX model_by_name ON model (name_lower, n, status, created_ms, modified_ms, name);
CREATE TABLE model_text (
 n INTEGER PRIMARY KEY,
 request TEXT NOT NULL,
 containers TEXT NOT NULL
);
