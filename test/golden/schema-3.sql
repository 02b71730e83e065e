CREATE TABLE algorithm (
 n INTEGER PRIMARY KEY AUTOINCREMENT,
 name TEXT NOT NULL,
 name_lower TEXT NOT NULL UNIQUE,
 arn TEXT NOT NULL UNIQUE,
 status TEXT NOT NULL CHECK (status IN ('Pending','InProgress','Completed','Failed','Deleting')),
 created_ms INTEGER NOT NULL,
 modified_ms INTEGER NOT NULL,
 description TEXT,
 image TEXT NOT NULL,
 details TEXT NOT NULL
);
CREATE INDEX algorithm_by_creation ON algorithm (created_ms, n, status, modified_ms, name);
CREATE INDEX algorithm_by_name ON algorithm (name_lower, n, status, created_ms, modified_ms, name);
CREATE INDEX algorithm_by_status ON algorithm (status, created_ms, n, modified_ms, name);
CREATE TABLE algorithm_text (
 n INTEGER PRIMARY KEY,
 request TEXT NOT NULL
);
CREATE TABLE validation (
 algorithm INTEGER PRIMARY KEY,
 step TEXT NOT NULL,
 name TEXT UNIQUE
);
CREATE INDEX validation_by_step ON validation (step);
