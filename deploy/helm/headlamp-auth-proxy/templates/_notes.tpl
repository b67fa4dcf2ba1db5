{{- define "headlamp-auth-proxy.notes" -}}
{{- $account := printf "system:serviceaccount:%s:%s" .Release.Namespace (include "headlamp-auth-proxy.serviceAccount" .) -}}
headlamp-auth-proxy {{ .Chart.AppVersion }}

Who is who, at the API server:
  user    {{ .Values.oidc.usernamePrefix }}<email>   of a token from {{ default (printf "the issuer in Secret %s" .Values.oidc.existingSecret) .Values.oidc.issuerURL }}
  groups  {{ .Values.oidc.groupsPrefix }}<each of tags, groups>, and {{ .Values.authenticatedGroup }}
  asked by {{ $account }}
{{- if not .Values.rbac.create }}

MISSING: rbac.create is false, so that account may impersonate nobody yet. This prints what it needs:
  headlamp-auth-proxy rbac --mode=named --service-account={{ .Release.Namespace }}/{{ include "headlamp-auth-proxy.serviceAccount" . }} --user=NAME
{{- else if eq .Values.rbac.mode "wide" }}

WARNING: rbac.mode is wide. Whoever holds that account's token can become anybody, the cluster's own
controllers included. Name users and groups (mode named), or have the API server cap it (constrained).
{{- else }}

May be impersonated ({{ .Values.rbac.mode }}{{ if .Values.rbac.readOnly }}, reading only{{ end }}):
  users   {{ .Values.rbac.users | join ", " | default "any" }}
  groups  {{ prepend (.Values.rbac.groups | default list) .Values.authenticatedGroup | uniq | join ", " }}
  A token with any other group is refused as a whole (403); extraFlags ["--groups-allow=NAME"] drops
  the groups that it does not name instead.
{{- end }}
{{- if and .Values.rbac.create (eq .Values.rbac.mode "constrained") }}
{{- if not .Values.rbac.users }}

WARNING: rbac.users is empty, so any user may be impersonated within the cap,
system:kube-controller-manager included. Name users where you can.
{{- end }}
{{- if semverCompare "<1.36-0" .Capabilities.KubeVersion.Version }}

MISSING: Kubernetes {{ .Capabilities.KubeVersion.Version }} knows no constrained impersonation, so everybody gets 403. Use rbac.mode=named.
{{- end }}
{{- end }}
{{- if and (not .Values.oidc.usernamePrefix) (contains "-gke" .Capabilities.KubeVersion.Version) }}

WARNING: on GKE, bindings meant for Google accounts match e-mail addresses from tsidp as well. Set
oidc.usernamePrefix (for example "tsidp:") and name the users with it.
{{- end }}
{{- if .Values.rbac.create }}
{{- with include "headlamp-auth-proxy.otherBindings" . }}

WARNING: other bindings give that account rights as well, and rights add up; a cap does not hold where
another binding has the verb impersonate. Take these out (Headlamp's chart: clusterRoleBinding.create and,
in values-sidecar.yaml, authProxy.createRBAC):
{{ . }}
{{- end }}
{{- end }}
{{- if and (has .Values.rbac.role (list "edit" "admin")) (not .Values.rbac.readOnly) }}

WARNING: {{ .Values.rbac.role }} is bound in every namespace, {{ .Release.Namespace }} included, where it lets its people exec
into the proxy's pod and so become everybody who is named here. Leave rbac.role empty, and bind them
by RoleBindings in other namespaces.
{{- end }}
{{- if not .Values.rbac.role }}

What these people may do is yours to say, for example:
  kubectl create clusterrolebinding tsidp-viewers --clusterrole=view --group={{ first (.Values.rbac.groups | default list) | default "k8s-viewers" }}
{{- end }}
{{- include "headlamp-auth-proxy.recordNotes" . }}
{{- if .Values.injection.enabled }}

Injected into new pods in {{ .Release.Namespace }} with the label headlamp-auth-proxy/inject: "true". For Headlamp's chart:
  --reuse-values --set-string podLabels.headlamp-auth-proxy/inject=true --set clusterRoleBinding.create=false
{{- else if .Values.standalone.enabled }}
{{- $secret := default (printf "%s-tls" (include "headlamp-auth-proxy.fullname" .)) .Values.standalone.tls.secretName }}

For Headlamp's chart, so that it finds the proxy where it looks for the API server:
  clusterRoleBinding: {create: false}
  automountServiceAccountToken: false
  env:
    - {name: KUBERNETES_SERVICE_HOST, value: {{ include "headlamp-auth-proxy.fullname" . }}.{{ .Release.Namespace }}.svc}
    - {name: KUBERNETES_SERVICE_PORT, value: "{{ .Values.standalone.service.port }}"}
  volumes:
    - name: proxy-trust
      projected:
        sources:
          - secret: {name: {{ $secret }}, items: [{key: ca.crt, path: ca.crt}]}
          - configMap: {name: {{ include "headlamp-auth-proxy.fullname" . }}-placeholder}
  volumeMounts:
    - {name: proxy-trust, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true}
{{- else }}

MISSING, if it is not in Headlamp's pod yet: nothing here runs the proxy. Put it there with
deploy/headlamp/values-sidecar.yaml, or set injection.enabled (Kubernetes 1.36 and later) or standalone.enabled.
{{- end }}
{{- end }}

{{- /* Bindings of others that have the proxy's account as a subject; none without a cluster. */ -}}
{{- define "headlamp-auth-proxy.otherBindings" -}}
{{- $account := include "headlamp-auth-proxy.serviceAccount" . }}
{{- $ours := printf "%s-impersonator" (include "headlamp-auth-proxy.clusterName" .) }}
{{- range (lookup "rbac.authorization.k8s.io/v1" "ClusterRoleBinding" "" "").items }}
{{- $binding := . }}
{{- range .subjects }}
{{- if and (eq .kind "ServiceAccount") (eq .name $account) (eq (default "" .namespace) $.Release.Namespace) (ne $binding.metadata.name $ours) }}
  {{ $binding.metadata.name }}, to {{ $binding.roleRef.name }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
