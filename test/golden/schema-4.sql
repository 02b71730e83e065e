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
CREATE TABLE model_package_group (
 n INTEGER PRIMARY KEY AUTOINCREMENT,
 name TEXT NOT NULL,
 name_lower TEXT NOT NULL UNIQUE,
 arn TEXT NOT NULL UNIQUE,
 status TEXT NOT NULL DEFAULT 'Completed',
 created_ms INTEGER NOT NULL,
 modified_ms INTEGER NOT NULL,
 description TEXT,
 created_by TEXT NOT NULL,
 last_version INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX model_package_group_by_creation ON model_package_group (created_ms, n, status, modified_ms, name);
CREATE INDEX model_package_group_by_name ON model_package_group (name_lower, n, status, created_ms, modified_ms, name);
CREATE TABLE model_package (
 n INTEGER PRIMARY KEY AUTOINCREMENT,
 name TEXT NOT NULL,
 name_lower TEXT NOT NULL,
 version INTEGER NOT NULL DEFAULT 0,
 arn TEXT NOT NULL UNIQUE,
 status TEXT NOT NULL,
 approval TEXT,
 created_ms INTEGER NOT NULL,
 modified_ms INTEGER NOT NULL,
 token TEXT UNIQUE,
 UNIQUE (name_lower, version)
);
CREATE INDEX model_package_by_creation ON model_package (created_ms, n, status, modified_ms, name, name_lower, version, approval);
CREATE INDEX model_package_by_name ON model_package (name_lower, n, status, created_ms, modified_ms, name, version, approval);
CREATE TABLE model_package_text (
 n INTEGER PRIMARY KEY,
 created_by TEXT NOT NULL,
 modified_by TEXT,
 request TEXT NOT NULL
);
