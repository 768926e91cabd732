/* SPDX-License-Identifier: GPL-2.0-only */
/* Containers by id or name: see container.h. */
#include "container.h"

#include <ctype.h>
#include <glob.h>
#include <string.h>

#include "cgroup.h"
#include "json.h"
#include "mctl.h"

#define ID_LEN 64
#define DOCKER "/var/lib/docker/containers/*/config.v2.json"
#define PODMAN "/var/lib/containers/storage/*-containers/containers.json"	/* CRI-O's too */
#define NERDCTL "/var/lib/nerdctl/*/names/*/"	/* a file for each name, with the id in it */

/* What is looked for, and what was found. */
struct search {
	const char *text;
	bool by_name;		/* by id otherwise, which may be cut short */
	char id[ID_LEN + 1];	/* empty: nothing so far */
	bool many;		/* more than one */
};

static bool is_id(const char *id, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!isxdigit((unsigned char)id[i]) || isupper((unsigned char)id[i]))
			return false;
	return len > 0;
}

static void found(struct search *s, const char *id)
{
	if (strnlen(id, ID_LEN) < ID_LEN || !is_id(id, ID_LEN))
		return;
	s->many |= *s->id && memcmp(s->id, id, ID_LEN) != 0;
	memcpy(s->id, id, ID_LEN);
}

/* One container, as a control group or a file tells of it. `name` NULL: nothing is said of its name. */
static void consider(struct search *s, const char *id, const char *name)
{
	if (s->by_name ? name && !strcmp(name, s->text) : !strncmp(id, s->text, strlen(s->text)))
		found(s, id);
}

static void consider_group(const char *id, void *data)
{
	consider(data, id, NULL);
}

static const char *text_of(struct json_object *object, const char *key)
{
	struct json_object *value;

	return json_object_object_get_ex(object, key, &value) ? json_object_get_string(value) : NULL;
}

static void read_docker(struct search *s, const char *path)
{
	_cleanup_json_ struct json_object *root = json_object_from_file(path);
	const char *id, *name;

	if (!json_object_is_type(root, json_type_object))
		return;
	id = text_of(root, "ID");
	name = text_of(root, "Name");
	if (id)
		consider(s, id, name && *name == '/' ? name + 1 : name);
}

static void read_podman(struct search *s, const char *path)
{
	_cleanup_json_ struct json_object *root = json_object_from_file(path);

	for (size_t i = 0; json_object_is_type(root, json_type_array) && i < json_object_array_length(root); i++) {
		struct json_object *one = json_object_array_get_idx(root, i), *names;
		const char *id = json_object_is_type(one, json_type_object) ? text_of(one, "id") : NULL;

		if (!id)
			continue;
		consider(s, id, NULL);
		if (!json_object_object_get_ex(one, "names", &names) || !json_object_is_type(names, json_type_array))
			continue;
		for (size_t j = 0; j < json_object_array_length(names); j++)
			consider(s, id, json_object_get_string(json_object_array_get_idx(names, j)));
	}
}

static void read_nerdctl(struct search *s, const char *path)
{
	_cleanup_fclose_ FILE *f = fopen(path, "re");
	const char *name = strrchr(path, '/');
	char id[ID_LEN + 1] = "";

	if (f && name && fread(id, 1, ID_LEN, f) == ID_LEN)
		consider(s, id, name + 1);
}

static void each_file(struct search *s, const char *pattern, void (*read)(struct search *s, const char *path))
{
	glob_t files = {};

	if (!glob(pattern, GLOB_NOSORT, NULL, &files))
		for (size_t i = 0; i < files.gl_pathc; i++)
			read(s, files.gl_pathv[i]);
	globfree(&files);
}

int mctl_container_find(const char *text, char ret_id[MIR_LABEL_LEN])
{
	struct search s = { .text = text, .by_name = true };
	const size_t len = strlen(text);

	memset(ret_id, 0, MIR_LABEL_LEN);
	if (len == ID_LEN && is_id(text, len)) {
		memcpy(ret_id, text, ID_LEN);
		return 0;
	}
	/* A name first, as the runtimes do. */
	for (int turn = 0; turn < 2 && !*s.id; turn++) {
		s.by_name = !turn;
		if (!s.by_name && !is_id(text, len))
			break;
		each_file(&s, DOCKER, read_docker);
		each_file(&s, PODMAN, read_podman);
		each_file(&s, NERDCTL "*", read_nerdctl);
		if (!s.by_name)
			mctl_cgroup_containers(consider_group, &s);
	}
	if (s.many)
		return mctl_why(-EINVAL, "more than one container has a %s like this; give the whole id",
				s.by_name ? "name" : "id");
	if (!*s.id)
		return mctl_why(-ESRCH, "no container here has an id or a name like this; the whole id of 64 digits can be armed "
				"beforehand with --wait");
	memcpy(ret_id, s.id, ID_LEN);
	return 0;
}
