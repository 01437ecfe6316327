module holdfast/images/flux-crds

go 1.27.0

require (
	github.com/fluxcd/helm-controller/api v1.7.1
	github.com/fluxcd/kustomize-controller/api v1.10.1
	github.com/fluxcd/notification-controller/api v1.10.0
	github.com/fluxcd/source-controller/api v1.10.1
	sigs.k8s.io/controller-tools v0.23.0
)
