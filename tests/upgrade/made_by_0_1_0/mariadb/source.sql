CREATE SCHEMA "业务";
CREATE TABLE "业务"."居民" ("编号" bigint PRIMARY KEY, "姓名" text NOT NULL, "余额" numeric(16,2));
INSERT INTO "业务"."居民" VALUES ('1', '改', '1.50');
INSERT INTO "业务"."居民" VALUES ('3', '姓名3', '3.50');
INSERT INTO "业务"."居民" VALUES ('4', '姓名4', '4.50');
INSERT INTO "业务"."居民" VALUES ('5', '姓名5', '5.50');
INSERT INTO "业务"."居民" VALUES ('6', '新', NULL);
