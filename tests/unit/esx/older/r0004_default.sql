PRAGMA application_id = 1986882422;
PRAGMA user_version = 1214408997;
BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0004');
CREATE TABLE answers (
        caller TEXT NOT NULL,
        call TEXT NOT NULL,
        answer BLOB NOT NULL,
        kept_at REAL NOT NULL,
        PRIMARY KEY (caller, call)
    ) STRICT;
CREATE TABLE counters (
        id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
        change INTEGER NOT NULL,
        floor INTEGER NOT NULL
    ) STRICT;
INSERT INTO "counters" VALUES(1,1700000000004,1700000000000);
CREATE TABLE datastores (name TEXT NOT NULL PRIMARY KEY, id TEXT NOT NULL) STRICT;
INSERT INTO "datastores" VALUES('ds1','00000000-0000-0000-0000-000000000009');
CREATE TABLE identities (fingerprint TEXT NOT NULL PRIMARY KEY, vm TEXT NOT NULL, name TEXT NOT NULL, issued_at REAL NOT NULL, not_after REAL NOT NULL, request TEXT NOT NULL, certificate_pem TEXT NOT NULL, revoked_at REAL, checksum TEXT NOT NULL) STRICT;
CREATE TABLE intents (
        id TEXT NOT NULL PRIMARY KEY,
        volume TEXT NOT NULL,
        kind TEXT NOT NULL,
        change TEXT NOT NULL,
        caller TEXT,
        opened_at REAL NOT NULL,
        source TEXT,
        before TEXT,
        task TEXT,
        closed_at REAL,
        outcome TEXT,
        checksum TEXT NOT NULL
    ) STRICT;
INSERT INTO "intents" VALUES('00000000-0000-0000-0000-000000000bbb','00000000-0000-0000-0000-000000000003','DeleteDisk','{"disk":{"path":{"datastore":"ds1","path":"vmdkvol/x-3.vmdk"},"uuid":"00000000-0000-0000-0000-0000000003eb"}}','00000000-0000-0000-0000-000000000001',1.0,NULL,'{"content":"formatted","created_at":1.0,"created_by":"host","datastore":"ds1","disk_uuid":"00000000-0000-0000-0000-0000000003eb","filesystem_uuid":"00000000-0000-0000-0000-0000000007d3","generation":7,"id":"00000000-0000-0000-0000-000000000003","last_vm":null,"name":"db3","options":{"access":"read-write","attach_as":"independent_persistent","clone_from":null,"datastore":null,"diskformat":"thin","fstype":"ext4","gid":0,"given":[],"labels":[],"layout":"data","mkfs_options":[],"mode":493,"mount_options":[],"size_bytes":104857600,"uid":0},"path":"vmdkvol/x-3.vmdk","size_bytes":1073741824,"state":"ready","trashed_at":null,"vmgroup":"11111111-1111-1111-1111-111111111111"}',NULL,NULL,NULL,'c4b397ed0e034600938031c8366133ffcc8dae7501c64e06d578470e2cda01af');
CREATE TABLE removed (
        change INTEGER NOT NULL PRIMARY KEY,
        volume TEXT NOT NULL,
        vmgroup TEXT NOT NULL
    ) STRICT;
CREATE TABLE tokens (hash TEXT NOT NULL PRIMARY KEY, vm TEXT NOT NULL, name TEXT NOT NULL, expires_at REAL NOT NULL, used_at REAL, used_for TEXT, checksum TEXT NOT NULL) STRICT;
INSERT INTO "tokens" VALUES('abababababababababababababababababababababababababababababababab','00000000-0000-0000-0000-000000000001','host-a',1700003600.0,NULL,NULL,'9f7220db65a33ca5882ac81a353e0455e6f0724b789c0d5f710735488e555a52');
CREATE TABLE vmgroups (
        id TEXT NOT NULL PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        default_datastore TEXT
    ) STRICT;
INSERT INTO "vmgroups" VALUES('11111111-1111-1111-1111-111111111111','_DEFAULT','ds1');
CREATE TABLE volumes (
        id TEXT NOT NULL PRIMARY KEY,
        vmgroup TEXT NOT NULL REFERENCES vmgroups (id),
        name TEXT NOT NULL,
        datastore TEXT NOT NULL,
        path TEXT NOT NULL,
        disk_uuid TEXT NOT NULL,
        size_bytes INTEGER NOT NULL,
        state TEXT NOT NULL,
        content TEXT NOT NULL,
        filesystem_uuid TEXT,
        options TEXT NOT NULL,
        generation INTEGER NOT NULL,
        created_at REAL NOT NULL,
        created_by TEXT NOT NULL,
        last_vm TEXT,
        trashed_at REAL,
        changed INTEGER NOT NULL,
        checksum TEXT NOT NULL
    , copied_uuids TEXT) STRICT;
INSERT INTO "volumes" VALUES('00000000-0000-0000-0000-000000000001','11111111-1111-1111-1111-111111111111','db1','ds1','vmdkvol/x-1.vmdk','00000000-0000-0000-0000-0000000003e9',1073741824,'ready','formatted','00000000-0000-0000-0000-0000000007d1','{"access":"read-write","attach_as":"independent_persistent","clone_from":null,"datastore":null,"diskformat":"thin","fstype":"ext4","gid":0,"given":[],"labels":[],"layout":"data","mkfs_options":[],"mode":493,"mount_options":[],"size_bytes":104857600,"uid":0}',7,1.0,'host',NULL,NULL,1700000000001,'b66f383b1f18b7b1b81ff9af98ede673eb260ae11243fbee0f86e387d4df1fa3',NULL);
INSERT INTO "volumes" VALUES('00000000-0000-0000-0000-000000000002','11111111-1111-1111-1111-111111111111','db2','ds1','vmdkvol/x-2.vmdk','00000000-0000-0000-0000-0000000003ea',1073741824,'ready','formatted','00000000-0000-0000-0000-0000000007d2','{"access":"read-write","attach_as":"independent_persistent","clone_from":null,"datastore":null,"diskformat":"thin","fstype":"ext4","gid":0,"given":[],"labels":[],"layout":"data","mkfs_options":[],"mode":493,"mount_options":[],"size_bytes":104857600,"uid":0}',7,1.0,'host',NULL,NULL,1700000000002,'6fdc1d303e4741bfed36180fb20c543e45e6a25682926e183752edc447884d02',NULL);
INSERT INTO "volumes" VALUES('00000000-0000-0000-0000-000000000003','11111111-1111-1111-1111-111111111111','db3','ds1','vmdkvol/x-3.vmdk','00000000-0000-0000-0000-0000000003eb',1073741824,'removing','formatted','00000000-0000-0000-0000-0000000007d3','{"access":"read-write","attach_as":"independent_persistent","clone_from":null,"datastore":null,"diskformat":"thin","fstype":"ext4","gid":0,"given":[],"labels":[],"layout":"data","mkfs_options":[],"mode":493,"mount_options":[],"size_bytes":104857600,"uid":0}',8,1.0,'host',NULL,NULL,1700000000004,'5f52dbb95a30ab53a8e61d18a2b317ed58ffd8f5f2a61ec07cd58a2bbca5329d',NULL);
CREATE UNIQUE INDEX live_names ON volumes (vmgroup, name)
        WHERE state IN ('preparing', 'ready', 'lost', 'damaged');
CREATE UNIQUE INDEX one_record_a_disk ON volumes (disk_uuid);
CREATE UNIQUE INDEX one_record_a_path ON volumes (datastore, path);
CREATE INDEX volumes_changed ON volumes (changed);
CREATE UNIQUE INDEX one_open_intent ON intents (volume) WHERE closed_at IS NULL;
CREATE INDEX open_sources ON intents (source) WHERE closed_at IS NULL;
CREATE INDEX answers_kept ON answers (kept_at);
CREATE INDEX identities_of ON identities (vm, issued_at);
CREATE INDEX tokens_of ON tokens (vm, expires_at);
COMMIT;
