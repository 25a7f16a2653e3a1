// docs/browsers.rst: what the script of a page does.

// [send]
let refreshing = null;
let refreshed = 0;

function csrf(name) {
  const all = document.cookie.split("; ");
  const found = all.find((one) => one.startsWith(`${name}=`));
  return found?.slice(name.length + 1) ?? "";
}

function post(path, name, body) {
  const headers = { "X-CSRF-TOKEN": csrf(name) };
  return fetch(path, { method: "POST", headers, body });
}

// One at a time: whoever comes meanwhile waits for the same answer.
function refresh() {
  refreshing ??= post("/auth/refresh", "csrf_refresh_token").finally(() => {
    refreshing = null;
    refreshed += 1;
  });
  return refreshing;
}

export async function send(path, body) {
  const before = refreshed;
  const answer = await post(path, "csrf_access_token", body);
  if (answer.status !== 401) return answer;
  const { error_type: why } = await answer.clone().json();
  const over = why !== "TokenExpiredError" && why !== "MissingTokenError";
  if (over) return answer;
  // Others may have refreshed since this was sent.
  if (refreshed === before && !(await refresh()).ok) return answer;
  return post(path, "csrf_access_token", body);
}

// [back]
addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});
