{{- /* Fails where what is asked for could not be done; prints nothing. */ -}}
{{- define "headlamp-auth-proxy.checkRecords" -}}
{{- range $key := list "audit" "recordings" }}
{{- if get (get $.Values $key) "enabled" }}
{{- if not (or $.Values.standalone.enabled $.Values.injection.enabled) }}
{{- fail (printf "%s.enabled: nothing here runs the proxy; set standalone.enabled or injection.enabled, or see docs/audit.md for Headlamp's own values" $key) }}
{{- end }}
{{- $own := ternary "^--audit-(policy|log|webhook)" "^--record-sessions" (eq $key "audit") }}
{{- range $.Values.extraFlags }}
{{- if regexMatch $own . }}
{{- fail (printf "extraFlags: %s is among what the values of %s set; take it out" . $key) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- with .Values.audit }}
{{- if .enabled }}
{{- include "headlamp-auth-proxy.checkPolicy" $ }}
{{- if not (or .log.path .webhook.existingSecret) }}
{{- fail "audit.log.path: the events have nowhere to go; set it (- is standard output), or audit.webhook.existingSecret" }}
{{- end }}
{{- include "headlamp-auth-proxy.checkLog" .log }}
{{- end }}
{{- end }}
{{- with .Values.recordings }}
{{- $room := include "headlamp-auth-proxy.mebibytes" .sizeLimit | int64 }}
{{- if and .enabled (not .existingClaim) (gt (int64 .maxBytes) (mul $room 1048576)) }}
{{- fail (printf "recordings.sizeLimit: %s holds less than one recording of recordings.maxBytes; raise it, or lower that" .sizeLimit) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "headlamp-auth-proxy.checkLog" -}}
{{- if not (hasPrefix "/" .path) }}
{{- if .existingClaim }}
{{- fail "audit.log.existingClaim: is for a file; set audit.log.path to one, such as /var/log/auth-proxy/$(POD_NAME).log" }}
{{- end }}
{{- else if .existingClaim }}
{{- if not (contains "$(POD_NAME)" .path) }}
{{- fail (printf "audit.log.path: of %s on a claim, two pods would write one file, at every rollout at least; put $(POD_NAME) into its name" .path) }}
{{- end }}
{{- else }}
{{- /* One file more than is kept, and what is waiting to be written. */}}
{{- $needed := add (mul .maxSize (add1 .maxBackups)) 16 }}
{{- if or (eq (int64 .maxSize) 0) (eq (int64 .maxBackups) 0) (gt $needed (include "headlamp-auth-proxy.mebibytes" .sizeLimit | int64)) }}
{{- fail (printf "audit.log.sizeLimit: a pod whose files outgrow %s is evicted, and audit.log.maxSize and maxBackups let them (0 is no limit); raise it, lower those, or set audit.log.existingClaim" .sizeLimit) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "headlamp-auth-proxy.mebibytes" -}}
{{- mul (regexFind "^[0-9]+" . | int64) (ternary 1024 1 (hasSuffix "Gi" .)) }}
{{- end }}

{{- /* A pod that runs keeps the policy it has; one that starts with such a one would not start. */ -}}
{{- define "headlamp-auth-proxy.checkPolicy" -}}
{{- $policy := include "headlamp-auth-proxy.auditPolicy" . | fromYaml }}
{{- with $policy.Error }}
{{- fail (printf "audit.policy: is not YAML: %s" .) }}
{{- end }}
{{- if or (ne (toString $policy.kind) "Policy") (ne (toString $policy.apiVersion) "audit.k8s.io/v1") }}
{{- fail "audit.policy: must be a whole Policy, with apiVersion: audit.k8s.io/v1 and kind: Policy" }}
{{- end }}
{{- if not (and $policy.rules (kindIs "slice" $policy.rules)) }}
{{- fail "audit.policy.rules: must be a list of at least one, such as {level: Metadata}" }}
{{- end }}
{{- range $number, $rule := prepend $policy.rules $policy }}
{{- $place := ternary "audit.policy" (printf "audit.policy.rules[%d]" (sub $number 1)) (eq $number 0) }}
{{- if not (kindIs "map" $rule) }}
{{- fail (printf "%s: must be a rule, such as {level: Metadata}" $place) }}
{{- end }}
{{- if and $number (not (has $rule.level (list "None" "Metadata" "Request" "RequestResponse"))) }}
{{- fail (printf "%s.level: must be None, Metadata, Request or RequestResponse; it is %v" $place (default "missing" $rule.level)) }}
{{- end }}
{{- $omitted := default list $rule.omitStages }}
{{- range ternary $omitted (list $omitted) (kindIs "slice" $omitted) }}
{{- if not (has . (list "RequestReceived" "ResponseStarted" "ResponseComplete" "Panic")) }}
{{- fail (printf "%s.omitStages: knows RequestReceived, ResponseStarted, ResponseComplete and Panic, and not %v" $place .) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
